"""``Graph``: the module that the torch session runs and that is exported, with its signature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from automm_serve.tensors import TensorSpec

NO_MODULE = "graph"
"""Stands for the module in the name of a node that no module inside the graph called."""


class Graph(nn.Module, ABC):
    """All arithmetic of a program: from a processor's tensors to an answer's.

    Floats, means, imputing, scaling, softmax and un-scaling are in here, so that ONNX Runtime,
    TensorRT and torch compute the same. Sizes come from ``tensor.shape``, never from ``len``,
    which an export would freeze.

    A module inside may say ``keep_fp32 = True``: what it computes has the unit and the range of a
    table's cells, so that it stays in 32 bits whatever the precision of its tower.

    Attributes:
        inputs: What ``forward`` reads. Axis 0 is the row.
        outputs: What ``forward`` gives. None is named like a torch operator: ``"embedding"``
            would clash with an inner value, and ONNX Runtime refuses the file.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @abstractmethod
    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute the outputs. One dict goes in, because ``**tensors`` does not export."""

    @property
    def towers(self) -> Mapping[str, tuple[str, ...]]:
        """Tower -> paths of its modules: the parts that have a precision of their own.

        What lies in none, such as the graph's own ``forward``, stays in 32 bits. Here each module
        directly inside is one.
        """
        return {name: (name,) for name, _ in self.named_children()}

    @property
    def kept_fp32(self) -> tuple[str, ...]:
        """Paths of the modules inside that are marked ``keep_fp32``."""
        return tuple(
            name for name, module in self.named_modules() if getattr(module, "keep_fp32", False)
        )


def module_of(node_name: str) -> str:
    """Return the path of the module that an ONNX node came from; empty where there is none."""
    path = node_name.rpartition("/")[0]
    return "" if path == NO_MODULE else path


def tower_of(node_name: str, towers: Mapping[str, tuple[str, ...]]) -> str | None:
    """Return the tower that an ONNX node belongs to, by its name; None where it is in none."""
    path = module_of(node_name)
    found = [
        (len(prefix), tower)
        for tower, prefixes in towers.items()
        for prefix in prefixes
        if is_inside(path, prefix)
    ]
    return max(found)[1] if found else None


def is_inside(path: str, prefix: str) -> bool:
    """Tell whether a module's path is another's, or lies below it."""
    return path == prefix or path.startswith(f"{prefix}.")
