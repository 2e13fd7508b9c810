"""Would a tower overflow in fp16? Read off the graph in fp32, on calibration rows.

Running the fp16 graph on a CPU proves nothing: ONNX Runtime computes there in 32 bits, and a value
of 582,000 between two operators passes unharmed that is infinite on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from automm_export.precision.files import read_graph
from automm_export.precision.towers import Tower
from automm_export.rewrite import IR_VERSION, LARGEST_FILE
from automm_serve.sessions.onnxruntime import OnnxRuntimeSession
from automm_serve.tensors import Tensors, TensorSpec

LARGEST = 65504.0
"""Largest finite value of fp16."""

MASKED = -1e37
"""What is below is a mask's minus infinity, and no overflow. Masks are made of the lowest float32
(-3.4e38) or of minus infinity, and added to scores, to each other, or multiplied by a flag; the sum
is as low. In fp16 they become -65504, or minus infinity by such a sum, and softmax makes zero of
both. No activation comes near: a graph that computes -1e37 is broken in fp32."""


class Extreme(NamedTuple):
    """The value of a tower that is farthest from zero.

    Attributes:
        value: Its size.
        what: The node that computes it, or the constant.
    """

    value: float
    what: str

    def describe(self) -> str:
        """Say why the tower cannot be in fp16."""
        return f"{self.what} reaches {self.value:.6g}, and fp16 ends at {LARGEST:.0f}"


def find_extremes(
    path: Path, towers: Sequence[Tower], feeds: Iterable[Tensors], inputs: tuple[TensorSpec, ...]
) -> dict[str, Extreme]:
    """Return tower -> its largest value over all feeds, constants included.

    Args:
        path: Of the ONNX file in fp32.
        towers: Of this graph.
        feeds: Of calibration rows, few rows each; one is looked at a time.
        inputs: Of the graph.
    """
    model = read_graph(path)
    seen = _constants(model, towers)
    values = _values(model, towers)
    probe = path.with_name(".probe.onnx")
    try:
        _write_probe(model, list(values), probe)
        largest = _run_probe(probe, list(values), feeds, inputs)
    finally:
        for file in path.parent.glob(f"{probe.name}*"):
            file.unlink()
    for value, size in largest.items():
        for tower in values[value].towers:
            if tower not in seen or size > seen[tower].value:
                seen[tower] = Extreme(size, f"node {values[value].maker!r}")
    return seen


class _Value(NamedTuple):
    """A value that a tower makes or reads."""

    maker: str
    towers: set[str]


def _values(model: onnx.ModelProto, towers: Sequence[Tower]) -> dict[str, _Value]:
    """What would be in fp16: what the nodes of a tower make, and what they read of others.

    An input of the graph counts as read: it is cast at the tower's border.
    """
    owner = {node: tower.name for tower in towers for node in tower.nodes}
    floats = {
        value.name
        for value in (*model.graph.input, *model.graph.output, *model.graph.value_info)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    makers = {name: node.name for node in model.graph.node for name in node.output}
    found: dict[str, _Value] = {}
    for node in model.graph.node:
        if node.name in owner:
            for name in (*node.input, *node.output):
                if name in floats:
                    found.setdefault(name, _Value(makers.get(name, name), set()))
                    found[name].towers.add(owner[node.name])
    return found


def _constants(model: onnx.ModelProto, towers: Sequence[Tower]) -> dict[str, Extreme]:
    owner = {node: tower.name for tower in towers for node in tower.nodes}
    readers: dict[str, set[str]] = {}
    found: dict[str, Extreme] = {}

    def look(array: NDArray[np.generic], what: str, names: Iterable[str]) -> None:
        if not np.issubdtype(array.dtype, np.floating) or not array.size:
            return
        values = array.astype(np.float64)
        size = float(np.abs(np.where(values < MASKED, 0, values)).max())
        for name in names:
            if name not in found or size > found[name].value:
                found[name] = Extreme(size, what)

    for node in model.graph.node:
        if node.name in owner:
            for name in node.input:
                readers.setdefault(name, set()).add(owner[node.name])
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    tensor = numpy_helper.to_array(attribute.t)
                    look(tensor, f"a constant of node {node.name!r}", [owner[node.name]])
    for tensor in model.graph.initializer:
        if tensor.name in readers:
            look(numpy_helper.to_array(tensor), f"constant {tensor.name!r}", readers[tensor.name])
    return found


def _write_probe(model: onnx.ModelProto, values: Sequence[str], path: Path) -> None:
    """The graph with one number more for each value: its size, found where it lies.

    So no intermediate outlives the node that reads it, however many there are.
    """
    graph = model.graph
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(MASKED, np.float32), "probe/masked"),
            numpy_helper.from_array(np.array(0, np.float32), "probe/zero"),
        ]
    )
    for i, value in enumerate(values):
        for operator, inputs, made in (
            ("Less", [value, "probe/masked"], f"probe/{i}/is_masked"),
            ("Where", [f"probe/{i}/is_masked", "probe/zero", value], f"probe/{i}/open"),
            ("Abs", [f"probe/{i}/open"], f"probe/{i}/size"),
        ):
            graph.node.append(helper.make_node(operator, inputs, [made], made))
        largest = f"probe/{i}"
        graph.node.append(
            helper.make_node("ReduceMax", [f"probe/{i}/size"], [largest], largest, keepdims=0)
        )
        graph.output.append(helper.make_tensor_value_info(largest, TensorProto.FLOAT, []))
    model.ir_version = IR_VERSION
    large = model.ByteSize() > LARGEST_FILE
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=large,
        location=f"{path.name}.data" if large else None,
    )


def _run_probe(
    path: Path, values: Sequence[str], feeds: Iterable[Tensors], inputs: tuple[TensorSpec, ...]
) -> Mapping[str, float]:
    outputs = tuple(TensorSpec(f"probe/{i}", "float32", ()) for i in range(len(values)))
    session = OnnxRuntimeSession(path, inputs, outputs)
    largest = np.zeros(len(values))
    for feed in feeds:
        found = session.run(feed)
        sizes = [float(found[spec.name]) for spec in outputs]
        largest = np.fmax(largest, sizes)  # NaN is the graph's own, in fp32 too
    session.close()
    return dict(zip(values, largest.tolist(), strict=True))
