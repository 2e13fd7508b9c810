"""A graph run by torch in 16 bits, tower by tower: what they cost, on a machine without a GPU.

ONNX Runtime's CPU provider has no bfloat16, and computes fp16 in 32 bits. So torch's own program of
the graph is walked operator by operator, and each operator of a chosen tower gets its inputs in
16 bits and gives its outputs in them, as the typed ONNX graph says. ``torch.autocast`` is farther
from that graph: it leaves normalisations and softmax in 32 bits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind

from automm_export.graph import Graph, is_inside, tower_of
from automm_export.precision.retype import Half
from automm_export.rewrite import trace
from automm_serve.tensors import Tensors
from automm_serve.threads import thread_budget

DTYPES: dict[Half, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}


class HalfProgram:
    """Torch's program of a graph, traced once.

    Args:
        graph: In evaluation mode, on the CPU.
        example: A feed, as ``rewrite.to_onnx`` wants it.
    """

    def __init__(self, graph: Graph, example: Tensors) -> None:
        self.graph = graph
        self._program = trace(graph, example)

    def session(self, towers: Collection[str], half: Half = "bf16") -> HalfSession:
        """Return what runs the graph with these towers in 16 bits."""
        return HalfSession(self.graph, self._program, towers, DTYPES[half])


class HalfSession:
    """Runs the program; a session as ``LocalPredictor`` takes it."""

    def __init__(
        self,
        graph: Graph,
        program: torch.export.ExportedProgram,
        towers: Collection[str],
        dtype: torch.dtype,
    ) -> None:
        self.inputs = graph.inputs
        self.outputs = graph.outputs
        self._signature = program.graph_signature
        self._state: Mapping[str, Any] = {**program.state_dict, **program.constants}
        self._walker = _Walker(program.graph_module, graph, towers, dtype)

    def run(self, feed: Tensors) -> Tensors:
        """Run the graph; ``feed`` may hold more than it reads."""
        torch.set_num_threads(thread_budget())
        given = iter([torch.as_tensor(feed[spec.name]) for spec in self.inputs])
        values = [
            next(given) if entry.kind == InputKind.USER_INPUT else self._state[str(entry.target)]
            for entry in self._signature.input_specs
        ]
        with torch.inference_mode():
            found = self._walker.run(*values)
        return {
            spec.name: tensor.float().numpy()
            for spec, tensor in zip(self.outputs, found, strict=True)
        }

    def close(self) -> None:
        """Keep nothing open."""


class _Walker(fx.Interpreter):
    """Runs operators in the type of the tower they came from."""

    def __init__(
        self,
        module: fx.GraphModule,
        graph: Graph,
        towers: Collection[str],
        dtype: torch.dtype,
    ) -> None:
        super().__init__(module)
        self._dtype = dtype
        self._half = {node for node in module.graph.nodes if _is_half(node, graph, towers)}
        # Weights are converted once; what is fed is another tensor each time.
        self._weights: dict[tuple[fx.Node, torch.dtype], Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n.op != "call_function" or "assert" in str(n.target):
            # What torch noted down of types and sizes holds for the graph in 32 bits.
            return None if "assert" in str(n.target) else super().run_node(n)
        dtype = self._dtype if n in self._half else torch.float32
        args, kwargs = fx.node.map_arg((n.args, n.kwargs), lambda node: self._read(node, dtype))
        assert callable(n.target)  # a name only in calls of another kind
        found = n.target(*args, **kwargs)
        return _convert(found, dtype) if n in self._half else found

    def _read(self, node: fx.Node, dtype: torch.dtype) -> Any:
        value = self.env[node]
        if not isinstance(value, nn.Parameter):
            return _convert(value, dtype)
        if (node, dtype) not in self._weights:
            self._weights[node, dtype] = _convert(value, dtype)
        return self._weights[node, dtype]


def _is_half(node: fx.Node, graph: Graph, towers: Collection[str]) -> bool:
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return False
    path = str(list(stack.values())[-1][0]).removeprefix("inner").removeprefix(".")
    tower = tower_of(f"{path}/", graph.towers)
    return tower in towers and not any(is_inside(path, kept) for kept in graph.kept_fp32)


def _convert(value: Any, dtype: torch.dtype) -> Any:
    """The same value, its floats in another type."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, list | tuple):
        return type(value)(_convert(item, dtype) for item in value)
    return value
