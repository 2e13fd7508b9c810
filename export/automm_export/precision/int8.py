"""int8 forms of a graph: one for ONNX Runtime on a CPU, one for engine builders.

Figures behind the choices are in docs/decisions/0020. Nothing in here judges what a form costs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from automm_export.precision.files import read_graph, save_graph
from automm_export.precision.towers import CONVOLUTIONS, PRODUCTS, Tower
from automm_export.rewrite import LARGEST_FILE
from automm_serve.tensors import Tensors

SMALL_BYTES = 1_000_000
SMALL_SHARE = 0.1


def why_not(tower: Tower, all_bytes: int) -> str:
    """Return why int8 has nothing to gain in a tower; empty where it has.

    Args:
        tower: To look at.
        all_bytes: Weights of all towers that have products or convolutions.
    """
    if tower.kind == "other":
        return "it has no matrix product and no convolution with weights"
    if tower.weight_bytes < min(SMALL_BYTES, SMALL_SHARE * all_bytes):
        return f"its weights are {tower.weight_bytes:,} bytes of {all_bytes:,}: nothing to gain"
    return ""


def write_cpu(source: Path, out: Path, towers: Sequence[Tower], feeds: Sequence[Tensors]) -> None:
    """Write the form for ONNX Runtime's CPU provider.

    Matrix products get scales when they run: one for the whole batch, so that a row's answer varies
    with the rows beside it. Tables of embeddings are half of a small transformer, and are shrunk
    along with its products. Convolutions get scales that were measured, per channel of the weights,
    and unsigned activations, for which the provider has kernels; with scales found when they run
    they were twelve times slower than in fp32. Weights get seven bits: with eight, sums of a CPU
    without VNNI overflow, and the file would answer otherwise there than where it was exported.

    Args:
        source: The ONNX file in fp32.
        out: To write.
        towers: Of this graph, to bring to int8.
        feeds: Of calibration rows.
    """
    model = read_graph(source)
    static = [t for t in towers if t.kind == "convolution"]
    dynamic = [t for t in towers if t.kind == "product"]
    with TemporaryDirectory(dir=out.parent, prefix=".int8_") as folder, _quiet():
        current, step = source, 0
        if static:
            step += 1
            made = Path(folder) / f"{step}.onnx"
            _static(current, made, _nodes(static), feeds, reduce_range=True)
            current = made
        nodes = _weighted(model, dynamic, (*PRODUCTS, "Gather"))
        if nodes:
            step += 1
            quantize_dynamic(
                current,
                made := Path(folder) / f"{step}.onnx",
                op_types_to_quantize=["MatMul", "Gather"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                reduce_range=True,
                # It turns a Gemm into a MatMul of this name first.
                nodes_to_quantize=[*nodes, *(f"{node}_MatMul" for node in nodes)],
                use_external_data_format=source.stat().st_size > LARGEST_FILE,
            )
            current = made
        save_graph(read_graph(current), out)


def write_engine(
    source: Path, out: Path, towers: Sequence[Tower], feeds: Sequence[Tensors]
) -> None:
    """Write the form that builders of engines take: symmetric scales, bias left in fp32.

    TensorRT knows no zero point other than 0, refuses a bias in int32, and has no operators that
    find scales when they run. Only what has weights is brought to int8; the rest it fuses as it
    sees fit.

    Args:
        source: The ONNX file in fp32.
        out: To write.
        towers: Of this graph, to bring to int8.
        feeds: Of calibration rows.
    """
    operators = (*PRODUCTS, *CONVOLUTIONS)
    nodes = _weighted(read_graph(source), towers, operators)
    with TemporaryDirectory(dir=out.parent, prefix=".int8_") as folder, _quiet():
        made = Path(folder) / "1.onnx"
        options = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
        _static(source, made, nodes, feeds, QuantType.QInt8, list(operators), options)
        save_graph(read_graph(made), out)


class _Feeds(CalibrationDataReader):  # type: ignore[misc]  # untyped in onnxruntime
    def __init__(self, feeds: Sequence[Tensors]) -> None:
        self._left = iter(feeds)

    def get_next(self) -> Tensors | None:
        return next(self._left, None)


def _static(
    source: Path,
    out: Path,
    nodes: Sequence[str],
    feeds: Sequence[Tensors],
    activations: Any = QuantType.QUInt8,
    operators: list[str] | None = None,
    options: dict[str, bool] | None = None,
    *,
    reduce_range: bool = False,
) -> None:
    quantize_static(
        source,
        out,
        _Feeds(feeds),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=operators,
        per_channel=True,
        activation_type=activations,
        weight_type=QuantType.QInt8,
        reduce_range=reduce_range,
        nodes_to_quantize=list(nodes),
        use_external_data_format=source.stat().st_size > LARGEST_FILE,
        calibration_providers=["CPUExecutionProvider"],
        extra_options=options or {},
    )


def _nodes(towers: Sequence[Tower]) -> list[str]:
    return sorted(node for tower in towers for node in tower.nodes)


def _weighted(
    model: onnx.ModelProto, towers: Sequence[Tower], operators: Sequence[str]
) -> list[str]:
    """Nodes that read weights: the product of two activations, as in attention, does not."""
    weights = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1
    }
    inside = {node for tower in towers for node in tower.nodes}
    return [
        node.name
        for node in model.graph.node
        if node.name in inside and node.op_type in operators and weights & set(node.input[:2])
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the advice to prepare the graph first: its preparation fails on transformers."""

    def drop(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in record.pathname

    root = logging.getLogger()
    root.addFilter(drop)
    try:
        yield
    finally:
        root.removeFilter(drop)
