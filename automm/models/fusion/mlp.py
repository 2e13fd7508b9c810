"""Late fusion: features brought to one width each, joined, and an MLP over them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from automm.config.schema import Config, FusionMLPOptions


def build(widths: Sequence[int], config: Config) -> FusionMLP:
    """Build the fusion for features of these widths."""
    return FusionMLP(widths, config.model.fusion_mlp)


class FusionMLP(nn.Module):
    """Adapters, then Linear -> LayerNorm -> LeakyReLU -> Dropout for each hidden size."""

    def __init__(self, widths: Sequence[int], options: FusionMLPOptions) -> None:
        super().__init__()
        wanted = options.adapt_in_features
        common = wanted if isinstance(wanted, int) else {"max": max, "min": min}[wanted](widths)
        self.adapters = nn.ModuleList(
            # The towers' features differ in scale by orders; a tower must not win by its units.
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, common))
            for width in widths
        )
        layers: list[nn.Module] = []
        size = common * len(widths)
        for hidden in options.hidden_sizes:
            layers += [
                nn.Linear(size, hidden),
                nn.LayerNorm(hidden),
                nn.LeakyReLU(),
                nn.Dropout(options.dropout),
            ]
            size = hidden
        self.layers = nn.Sequential(*layers)
        self.out_dim = size

    def forward(self, features: list[Tensor]) -> Tensor:
        """Join features (batch, width) of each encoder to (batch, out_dim)."""
        adapted = [adapt(x) for adapt, x in zip(self.adapters, features, strict=True)]
        joined: Tensor = self.layers(torch.cat(adapted, dim=1))
        return joined
