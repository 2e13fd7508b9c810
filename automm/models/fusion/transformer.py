"""Late fusion: each encoder's features become a token, and attention mixes them into CLS."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from automm.config.schema import FusionTransformerOptions
from automm.models.attention import Block, check_heads
from automm.models.fusion.adapters import build_adapters, common_width
from automm.models.mlp import build_activation, build_norm


def build(widths: Sequence[int], options: FusionTransformerOptions) -> FusionTransformer:
    """Build the fusion for features of these widths."""
    return FusionTransformer(widths, options)


class FusionTransformer(nn.Module):
    """Adapters, CLS, blocks, and the norm of what CLS has become."""

    def __init__(self, widths: Sequence[int], options: FusionTransformerOptions) -> None:
        super().__init__()
        width, heads = common_width(widths, options), options.attention_num_heads
        if isinstance(options.adapt_in_features, int):
            check_heads("model.fusion_transformer.adapt_in_features", width, heads)
        width += -width % heads  # nobody chooses the width of an encoder
        self.adapters = build_adapters(widths, width)
        self.cls = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5))
        self.layers = nn.ModuleList(Block(width, options) for _ in range(options.num_blocks))
        self.norm = build_norm(width, options.normalization)
        self.activate = build_activation(options.head_activation)
        self.out_dim = width

    def forward(self, features: list[Tensor]) -> Tensor:
        """Join features (batch, width) of each encoder to (batch, out_dim)."""
        adapted = [adapt(x) for adapt, x in zip(self.adapters, features, strict=True)]
        cls = self.cls.expand(adapted[0].shape[0], -1)
        x = torch.stack([cls, *adapted], dim=1)
        for layer in self.layers:
            x = layer(x)
        joined: Tensor = self.activate(self.norm(x[:, 0]))
        return joined
