"""``Graph``: the module that the torch session runs and that is exported, with its signature."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from automm_serve.tensors import TensorSpec


class Graph(nn.Module, ABC):
    """All arithmetic of a program: from a processor's tensors to an answer's.

    Floats, means, imputing, scaling, softmax and un-scaling are in here, so that ONNX Runtime,
    TensorRT and torch compute the same. Sizes come from ``tensor.shape``, never from ``len``,
    which an export would freeze.

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
