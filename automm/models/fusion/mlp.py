"""Late fusion: features brought to one width each, joined, and an MLP over them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from automm.config.schema import FusionMLPOptions
from automm.models.fusion.adapters import build_adapters, common_width
from automm.models.mlp import mlp_layers


def build(widths: Sequence[int], options: FusionMLPOptions) -> FusionMLP:
    """Build the fusion for features of these widths."""
    return FusionMLP(widths, options)


class FusionMLP(nn.Module):
    """Adapters, then Linear -> norm -> activation -> Dropout for each hidden size."""

    def __init__(self, widths: Sequence[int], options: FusionMLPOptions) -> None:
        super().__init__()
        common = common_width(widths, options)
        joined = common * len(widths)
        self.adapters = build_adapters(widths, common)
        self.layers = mlp_layers(joined, options.hidden_sizes, options)
        self.out_dim = options.hidden_sizes[-1] if options.hidden_sizes else joined

    def forward(self, features: list[Tensor]) -> Tensor:
        """Join features (batch, width) of each encoder to (batch, out_dim)."""
        adapted = [adapt(x) for adapt, x in zip(self.adapters, features, strict=True)]
        joined: Tensor = self.layers(torch.cat(adapted, dim=1))
        return joined
