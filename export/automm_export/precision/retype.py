"""A graph in 16 bits, strongly typed: chosen nodes compute in them, and casts stand at the border.

ONNX Runtime's own converter was tried and left: it sends the inputs of the graph, and what passes
between two nodes that it is told to leave alone, through fp16 all the same, where a price of
500,000 is infinite; and it knows no bfloat16 (docs/decisions/0020).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal, TypeAlias

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from automm_export.precision.files import values_read
from automm_export.rewrite import OPSET

Half: TypeAlias = Literal["fp16", "bf16"]

TYPES: dict[Half, int] = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
STAYS = frozenset(
    {"Range", "CumSum", "TopK", "NonMaxSuppression", "RoiAlign", "Bernoulli", "RandomNormalLike"}
)
"""Operators that count, rank or draw: 16 bits cannot count beyond 2,048."""

_FP32_INPUTS = {"Resize": (2,)}
"""Operator -> inputs whose type is float32 whatever that of the others: Resize's scales."""


def retype(model: onnx.ModelProto, nodes: Collection[str], half: Half) -> onnx.ModelProto:
    """Return a copy in which these nodes compute in 16 bits; inputs and outputs keep their types.

    A node stays in 32 bits all the same where its operator has no such type in this opset, counts,
    or has graphs inside. Constants are rounded from those of float32 (``half_tensor``).

    Args:
        model: In fp32, its types known for every value (as the exporter writes them).
        nodes: Their names.
        half: Of which kind.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    known = onnx.shape_inference.infer_shapes(model) if model.ByteSize() < 2**31 else model
    floats = _float_values(known.graph)
    code = TYPES[half]
    chosen = {n.name for n in graph.node if n.name in nodes and takes_half(n, half)}
    writer = _Writer(graph, code, floats)
    for node in list(graph.node):
        if node.name in chosen:
            writer.add_half(node)
        else:
            writer.add_full(node)
    writer.finish()
    return copy


def takes_half(node: onnx.NodeProto, half: Half) -> bool:
    """Tell whether a node can compute in this type; where not, it stays in 32 bits."""
    if node.op_type in STAYS or node.domain not in ("", "ai.onnx"):
        return False
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        return False
    wanted = "tensor(float16)" if half == "fp16" else "tensor(bfloat16)"
    schema = onnx.defs.get_schema(node.op_type, OPSET)
    floating = [c for c in schema.type_constraints if "tensor(float)" in c.allowed_type_strs]
    used = {entry.type_str for entry in (*schema.inputs, *schema.outputs)}
    relevant = [c for c in floating if c.type_param_str in used]
    # A type that no other input shares may stay as it is, such as the scales of Resize.
    return any(wanted in c.allowed_type_strs for c in relevant) or not relevant


def half_tensor(array: NDArray[np.floating], half: Half, name: str = "") -> onnx.TensorProto:
    """Round float32 to 16 bits.

    What the type cannot hold becomes its largest value, such as a mask's minus infinity: a row that
    is masked wholly then gives no NaN. What is too small for it becomes its smallest and not zero,
    since it may be there to keep a divisor from being zero.
    """
    dtype = torch.float16 if half == "fp16" else torch.bfloat16
    limits = torch.finfo(dtype)
    full = torch.from_numpy(np.array(array, np.float32))
    rounded = full.clamp(limits.min, limits.max).to(dtype)
    vanished = (rounded == 0) & (full != 0)
    rounded = torch.where(vanished, full.sign().to(dtype) * limits.smallest_normal, rounded)
    raw = rounded.contiguous().view(torch.int16).numpy().astype("<i2").tobytes()
    return helper.make_tensor(name, TYPES[half], array.shape, raw, raw=True)


class _Writer:
    """Writes the nodes anew, one after the other, and knows the type of every value so far."""

    def __init__(self, graph: onnx.GraphProto, code: int, floats: set[str]) -> None:
        self._graph = graph
        self._code = code
        self._half: Half = "fp16" if code == TensorProto.FLOAT16 else "bf16"
        self._floats = floats
        self._weights = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
        self._outputs = {value.name for value in graph.output}
        self._nodes: list[onnx.NodeProto] = []
        self._halves: set[str] = set()  # values that are in 16 bits under their own name
        self._casts: dict[tuple[str, int], str] = {}
        self._used: set[str] = set()

    def add_half(self, node: onnx.NodeProto) -> None:
        stays = _FP32_INPUTS.get(node.op_type, ())
        for i, name in enumerate(node.input):
            if name in self._floats:
                node.input[i] = self._as_full(name) if i in stays else self._as_half(name)
        self._change_attributes(node)
        late = []
        for i, name in enumerate(node.output):
            if name in self._floats:
                if name in self._outputs:
                    node.output[i] = f"{name}/{self._half}"
                    late.append((node.output[i], name))
                else:
                    self._halves.add(name)
        self._nodes.append(node)
        for source, name in late:  # an output of the graph keeps its type
            self._casts[name, self._code] = source
            self._nodes.append(_cast(source, name, TensorProto.FLOAT))

    def add_full(self, node: onnx.NodeProto) -> None:
        for i, name in enumerate(node.input):
            if name in self._floats:
                node.input[i] = self._as_full(name)
        inside = {name for name in values_read(node)} - set(node.input)
        renamed = {name: self._as_full(name) for name in inside if name in self._halves}
        if renamed:
            _rename_inside(node, renamed)
        self._used |= inside
        self._nodes.append(node)

    def finish(self) -> None:
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        read = {name for node in self._nodes for name in values_read(node)} | self._outputs
        kept = [tensor for tensor in self._graph.initializer if tensor.name in read]
        weights = [tensor for tensor in self._made() if tensor.name in read]
        del self._graph.initializer[:]
        self._graph.initializer.extend([*kept, *weights])
        for value in self._graph.value_info:
            if value.name in self._halves:
                value.type.tensor_type.elem_type = self._code

    def _as_half(self, name: str) -> str:
        if name in self._halves:
            return name
        if name in self._weights:
            self._casts[name, self._code] = f"{name}/{self._half}"
            return f"{name}/{self._half}"
        return self._cast_to(name, self._code)

    def _as_full(self, name: str) -> str:
        return self._cast_to(name, TensorProto.FLOAT) if name in self._halves else name

    def _cast_to(self, name: str, code: int) -> str:
        made = self._casts.get((name, code))
        if made is None:
            made = f"{name}/{'fp32' if code == TensorProto.FLOAT else self._half}"
            self._casts[name, code] = made
            self._nodes.append(_cast(name, made, code))
        return made

    def _made(self) -> Iterator[onnx.TensorProto]:
        for (name, code), made in self._casts.items():
            if name in self._weights and code == self._code:
                array = numpy_helper.to_array(self._weights[name])
                yield half_tensor(array, self._half, made)

    def _change_attributes(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Cast":
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                    attribute.i = self._code
        elif node.op_type == "ConstantOfShape" and not node.attribute:
            zero = half_tensor(np.zeros(1, np.float32), self._half)
            node.attribute.append(helper.make_attribute("value", zero))
        elif node.op_type in ("Constant", "ConstantOfShape"):
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.t.data_type == TensorProto.FLOAT:
                    array = numpy_helper.to_array(attribute.t)
                    attribute.t.CopyFrom(half_tensor(array, self._half, attribute.t.name))
                elif attribute.name in ("value_float", "value_floats"):
                    array = np.asarray(helper.get_attribute_value(attribute), np.float32)
                    tensor = half_tensor(array, self._half)
                    attribute.CopyFrom(helper.make_attribute("value", tensor))
        for attribute in node.attribute:
            if attribute.name == "dtype" and attribute.i == TensorProto.FLOAT:
                attribute.i = self._code


def _float_values(graph: onnx.GraphProto) -> set[str]:
    found = {
        value.name
        for value in (*graph.input, *graph.output, *graph.value_info)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    return found | {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}


def _cast(source: str, made: str, code: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [made], f"graph/Cast_{made}", to=code)


def _rename_inside(node: onnx.NodeProto, renamed: dict[str, str]) -> None:
    """Other names for values of the outer graph, in the graphs inside of a node."""
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            for part in inner.node:
                for i, name in enumerate(part.input):
                    part.input[i] = renamed.get(name, name)
                _rename_inside(part, renamed)
