"""A ``Graph`` -> an ONNX file that has the names, axes and versions that servers in use take.

The order is what was found to hold: ``torch.export.export`` with dynamic dims, then
``torch.onnx.export`` of that program with the dims given again, so that their names survive.
"""

from __future__ import annotations

import warnings
from ast import literal_eval
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from automm_export.graph import NO_MODULE, Graph
from automm_serve.errors import ExportError
from automm_serve.tensors import Axis, Tensors, TensorSpec

OPSET = 20  # 17 to 22 answer alike; from 23 on the Attention operator appears, which few take
IR_VERSION = 9  # ONNX Runtime 1.17 to 1.32 load it; the exporter's 10 is refused by 1.17
MAX_BATCH = 1024
LARGEST_FILE = 2_000_000_000
"""Bytes of weights; a protobuf message holds 2 GB, beyond them they lie in a file beside it."""

_SCOPES = "pkg.torch.onnx.name_scopes"

ELEMENT_TYPES = {
    "float32": onnx.TensorProto.FLOAT,
    "int32": onnx.TensorProto.INT32,
    "int64": onnx.TensorProto.INT64,
    "uint8": onnx.TensorProto.UINT8,
}


def to_onnx(
    name: str, graph: Graph, example: Tensors, path: Path, *, largest_file: int = LARGEST_FILE
) -> None:
    """Write a graph as ONNX, and check that the file says what the graph says.

    Args:
        name: Of the graph, for messages.
        graph: In evaluation mode, on the CPU.
        example: A feed of two rows or more, with no axis that varies of size 0 or 1: torch would
            take such a size for a constant.
        path: Of the file.
        largest_file: Bytes of weights beyond which they lie beside it, in ``{path.name}.data``.

    Raises:
        ExportError: Torch cannot export it, or the file has other names, types or axes.
    """
    try:
        program = _export(graph.eval(), example)
    except Exception as error:  # torch raises anything here
        raise ExportError(
            where=f"graph {name!r}",
            what=f"torch cannot export it: {error}",
            mend="Choose another encoder, or report this with the settings of the predictor",
        ) from error
    weights = sum(t.numel() * t.element_size() for t in graph.state_dict().values())
    program.save(str(path), external_data=weights > largest_file)
    model = onnx.load(str(path), load_external_data=False)
    name_nodes(model)  # first: the metadata says where a node came from
    strip_metadata(model)
    refuse_dropout(name, model)
    check_signature(name, model, graph)
    model.ir_version = IR_VERSION  # last: each rewrite may set its own
    path.write_bytes(model.SerializeToString(deterministic=True))


def name_nodes(model: onnx.ModelProto) -> bool:
    """Name each node ``<module path>/<operator>``; return whether a name changed.

    So the module that a node came from, and the tower that it belongs to, can be read off the file
    alone. A node outside every module, such as a softmax in the graph's own ``forward``, is
    ``graph/...``. Those that the exporter's optimiser made know nothing of their origin: they get
    the module of what they read.
    """
    taken: dict[str, int] = {}
    homes: dict[str, str] = {}
    changed = False
    for graph in (model.graph, *_subgraphs(model.graph)):
        for node in graph.node:
            home = _module_path(node)
            if home is None:
                home = next((homes[name] for name in node.input if name in homes), NO_MODULE)
            homes |= dict.fromkeys(node.output, home)
            name = f"{home}/{node.name.removeprefix('node_') or node.op_type}"
            taken[name] = taken.get(name, 0) + 1
            while taken[name] > 1:  # the exporter names some nodes alike
                name = f"{name}_{taken[name]}"
                taken[name] = taken.get(name, 0) + 1
            changed = changed or node.name != name
            node.name = name
    return changed


def strip_metadata(model: onnx.ModelProto) -> bool:
    """Take out what the exporter notes down of this machine; return whether there was any.

    Stack traces name files of this machine, and differ from run to run; the fields of IR version
    10 that they lie in must go before 9 is written, too. The version of torch tells a CPU build
    from a CUDA build, which give the same graph: it stands in ``bundle.json``.
    """
    parts = [model, model.graph, *model.graph.node, *model.graph.initializer]
    parts += [*model.graph.value_info, *model.graph.input, *model.graph.output]
    for graph in _subgraphs(model.graph):
        parts += [graph, *graph.node, *graph.value_info]
    for function in model.functions:
        parts += [function, *function.node]
    changed = bool(model.producer_version)
    model.ClearField("producer_version")
    for part in parts:
        for field in ("metadata_props", "doc_string"):
            if getattr(part, field, None):
                part.ClearField(field)
                changed = True
    return changed


def refuse_dropout(name: str, model: onnx.ModelProto) -> None:
    """Refuse a graph that was exported in training mode.

    Raises:
        ExportError: It has a Dropout node.
    """
    if any(node.op_type == "Dropout" for node in model.graph.node):
        raise ExportError(
            where=f"graph {name!r}",
            what="a Dropout is left in it, so that it was exported in training mode",
            mend="Call eval() in the module that calls train() in its forward",
        )


def check_signature(name: str, model: onnx.ModelProto, graph: Graph) -> None:
    """Compare names, types and axes of the file with the specs; each axis must have its name.

    Raises:
        ExportError: Something differs, as an axis does that became a constant.
    """
    for side, found, wanted in (
        ("input", model.graph.input, graph.inputs),
        ("output", model.graph.output, graph.outputs),
    ):
        there = {value.name: _described(value) for value in found}
        expected = {spec.name: _expected(spec) for spec in wanted}
        if there != expected:
            raise ExportError(
                where=f"graph {name!r}",
                what=f"its {side}s are {there} in ONNX and should be {expected}",
                mend="Take sizes from tensor.shape in its forward; len() and int() freeze them",
            )


class _Ordered(nn.Module):
    """The outputs as a tuple in the order of the specs: a dict has the order of its making."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._names = [spec.name for spec in graph.outputs]
        self.inner = graph  # not "graph": torch.fx has an attribute of that name

    def forward(self, tensors: dict[str, Tensor]) -> tuple[Tensor, ...]:
        found = self.inner(tensors)
        return tuple(found[name] for name in self._names)


def trace(graph: Graph, example: Tensors) -> torch.export.ExportedProgram:
    """Return torch's program of a graph: its operators, each with the module it came from."""
    feed = {"tensors": {spec.name: torch.as_tensor(example[spec.name]) for spec in graph.inputs}}
    # That two inputs share an axis, as they should, is warned of.
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        return torch.export.export(
            _Ordered(graph.eval()),
            (),
            kwargs=feed,
            dynamic_shapes=_dynamic_shapes(graph),
            strict=False,
        )


def _export(graph: Graph, example: Tensors) -> torch.onnx.ONNXProgram:
    exported = trace(graph, example)
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):  # of its own deprecations
        program = torch.onnx.export(
            exported,
            (),
            None,
            kwargs={
                "tensors": {spec.name: torch.as_tensor(example[spec.name]) for spec in graph.inputs}
            },
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=_dynamic_shapes(graph),
            input_names=[spec.name for spec in graph.inputs],
            output_names=[spec.name for spec in graph.outputs],
            verbose=False,  # its progress is not ASCII, and goes to stdout
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave nothing")
    return program


def _dynamic_shapes(graph: Graph) -> dict[str, Any]:
    dims: dict[str, Any] = {"batch": Dim("batch", min=1, max=MAX_BATCH)}
    for spec in graph.inputs:
        for axis in spec.shape:
            if isinstance(axis, Axis) and axis.sizes:
                dims.setdefault(axis.name, Dim(axis.name, min=1, max=axis.sizes[-1]))
    return {
        "tensors": {
            spec.name: {
                i: dims[axis.name] for i, axis in enumerate(spec.shape) if isinstance(axis, Axis)
            }
            for spec in graph.inputs
        }
    }


def _module_path(node: onnx.NodeProto) -> str | None:
    """The module whose ``forward`` called the operator; None where the exporter does not say."""
    found = {entry.key: entry.value for entry in node.metadata_props}
    try:
        scopes = [str(scope) for scope in literal_eval(found.get(_SCOPES, "[]"))]
    except (SyntaxError, ValueError):
        return None
    if "inner" not in scopes[:-1]:  # `_Ordered.inner`: shapes of inputs are asked outside it
        return NO_MODULE if scopes else None
    return scopes[-2].removeprefix("inner").removeprefix(".") or NO_MODULE


def _described(value: onnx.ValueInfoProto) -> tuple[int, tuple[int | str, ...]]:
    tensor = value.type.tensor_type
    return tensor.elem_type, tuple(
        dim.dim_param if dim.HasField("dim_param") else dim.dim_value for dim in tensor.shape.dim
    )


def _expected(spec: TensorSpec) -> tuple[int, tuple[int | str, ...]]:
    return ELEMENT_TYPES[spec.dtype], tuple(
        axis.name if isinstance(axis, Axis) else axis for axis in spec.shape
    )


def _subgraphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield inner
                    yield from _subgraphs(inner)
