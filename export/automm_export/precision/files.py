"""ONNX files as messages: read with their weights, written as every bundle's graph is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import onnx

from automm_export.rewrite import IR_VERSION, LARGEST_FILE
from automm_serve.errors import ExportError


def read_graph(path: Path) -> onnx.ModelProto:
    """Read a graph with all its weights."""
    return onnx.load(str(path))


def save_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph: IR version, order of nodes and place of weights as in every bundle.

    Args:
        model: Changed in place.
        path: Of the file. Weights beyond 2 GB lie beside it in ``{path.name}.data``.

    Raises:
        ExportError: It is no graph that the format allows.
    """
    model.ir_version = IR_VERSION
    sort_nodes(model.graph)
    if weight_bytes(model) > LARGEST_FILE:
        onnx.save_model(
            model,
            str(path),
            save_as_external_data=True,
            location=f"{path.name}.data",
            size_threshold=1024,
        )
    else:
        path.write_bytes(model.SerializeToString(deterministic=True))
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise ExportError(
            where=f"graph file {path.name!r}",
            what=f"it is not what ONNX allows: {error}",
            mend="Export without this precision, and report this with the predictor's settings",
        ) from error


def sort_nodes(graph: onnx.GraphProto) -> bool:
    """Put each node behind those that it reads; return whether the order changed.

    Tools that insert nodes append them at the end: runtimes accept that, ``onnx.checker`` does not.
    """
    nodes = list(graph.node)
    makers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    needs = [{makers[name] for name in values_read(node) if name in makers} for node in nodes]
    if all(max(need, default=-1) < i for i, need in enumerate(needs)):
        return False
    readers: list[list[int]] = [[] for _ in nodes]
    for i, need in enumerate(needs):
        for maker in need:
            readers[maker].append(i)
    left = [len(need) for need in needs]
    ready = deque(i for i, count in enumerate(left) if not count)
    ordered = []
    while ready:
        i = ready.popleft()
        ordered.append(i)
        for reader in readers[i]:
            left[reader] -= 1
            if not left[reader]:
                ready.append(reader)
    del graph.node[:]
    graph.node.extend(nodes[i] for i in ordered)
    return True


def values_read(node: onnx.NodeProto) -> Iterator[str]:
    """Yield what a node reads, in the graphs inside of it too."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            for part in inner.node:
                yield from values_read(part)
            yield from (value.name for value in inner.output)


def weight_bytes(model: onnx.ModelProto) -> int:
    """Return the size of all weights."""
    return sum(map(tensor_bytes, model.graph.initializer))


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """Return the size of a tensor, from its type and shape: its bytes may lie in another file."""
    count = 1
    for size in tensor.dims:
        count *= size
    return count * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
