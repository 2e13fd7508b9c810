"""The parts of a graph that have a precision of their own, as its ONNX file names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

import onnx

from automm_export.graph import Graph, is_inside, module_of, tower_of
from automm_export.precision.files import tensor_bytes, values_read

Kind: TypeAlias = Literal["convolution", "product", "other"]
"""What most weights of a tower are in: convolutions, matrix products (transformers), neither."""

PRODUCTS = ("MatMul", "Gemm")
CONVOLUTIONS = ("Conv", "ConvTranspose")


class Tower(NamedTuple):
    """A part of a graph.

    Attributes:
        graph: Name of the graph.
        name: Of the tower; with the graph's before it where the bundle has several graphs.
        nodes: Names of the ONNX nodes that may have another precision; those that impute and
            scale are not among them.
        weight_bytes: Of what these nodes read, in fp32.
        kind: What most of these weights are in.
    """

    graph: str
    name: str
    nodes: frozenset[str]
    weight_bytes: int
    kind: Kind


def find_towers(models: Mapping[str, onnx.ModelProto], graphs: Mapping[str, Graph]) -> list[Tower]:
    """Return the towers of all graphs that have nodes in them.

    Args:
        models: Graph name -> its ONNX file, with the names that ``rewrite.name_nodes`` gave.
        graphs: The modules that these were made of.
    """
    found = []
    for graph_name, model in models.items():
        graph = graphs[graph_name]
        kept = graph.kept_fp32
        nodes: dict[str, list[onnx.NodeProto]] = {name: [] for name in graph.towers}
        for node in model.graph.node:
            tower = tower_of(node.name, graph.towers)
            path = module_of(node.name)
            if tower is not None and not any(is_inside(path, prefix) for prefix in kept):
                nodes[tower].append(node)
        sizes = {tensor.name: tensor_bytes(tensor) for tensor in model.graph.initializer}
        for name, members in nodes.items():
            if members:
                full = name if len(models) == 1 else f"{graph_name}.{name}"
                found.append(_describe(graph_name, full, members, sizes))
    return found


def _describe(
    graph: str, name: str, nodes: list[onnx.NodeProto], sizes: Mapping[str, int]
) -> Tower:
    def weigh(operators: tuple[str, ...]) -> int:
        read = {v for node in nodes if node.op_type in operators for v in node.input}
        return sum(sizes.get(value, 0) for value in read)

    all_read = {value for node in nodes for value in values_read(node)}
    weight = sum(sizes.get(value, 0) for value in all_read)
    products, convolutions = weigh(PRODUCTS), weigh(CONVOLUTIONS)
    kind: Kind = "other"
    if products or convolutions:
        kind = "product" if products >= convolutions else "convolution"
    return Tower(graph, name, frozenset(node.name for node in nodes), weight, kind)
