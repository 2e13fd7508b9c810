"""What every encoder is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor, nn


class Encoder(nn.Module):
    """The tensors of one processor -> features.

    Attributes:
        out_dim: Width of the features.
        blocks: From input to output; rates by layer, freezing and LoRA read this.
        backbone: What a ``config.json`` must hold so that ``build`` makes the same module from a
            folder with nothing else in it; None where the processor says all.
    """

    out_dim: int
    blocks: Sequence[nn.Module]
    backbone: dict[str, Any] | None = None
    frozen: int = 0

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``features`` float32 (batch, out_dim). One dict: ``**`` does not export."""
        raise NotImplementedError

    def freeze(self, count: int) -> None:
        """Stop training the first blocks; they also stay in evaluation, so no dropout there."""
        self.frozen = count
        for block in self.blocks[:count]:
            block.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but the frozen blocks."""
        super().train(mode)
        for block in self.blocks[: self.frozen]:
            block.eval()
        return self
