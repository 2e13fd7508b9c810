"""FT-Transformer (Gorishniy et al., 2021, arXiv:2106.11959): a token a column, attention, CLS.

Imputing and scaling are in here, so that they are in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from automm.config.schema import FTTransformerOptions
from automm.models.attention import Block, check_heads
from automm.models.encoders.base import Encoder
from automm.models.encoders.columns import Categories, Numbers, fit_columns
from automm.models.mlp import build_activation, build_norm
from automm_serve.processors.tabular import TabularProcessor
from automm_serve.schema import Column
from automm_serve.tensors import Table

KINDS = ("number", "category")
OPTIONS = FTTransformerOptions


def fit(
    name: str, table: Table, columns: Sequence[Column], options: FTTransformerOptions
) -> TabularProcessor:
    """Fit the processor whose tensors the encoder will read."""
    return fit_columns(name, table, columns, options)


def build(processor: TabularProcessor, options: FTTransformerOptions) -> FTTransformer:
    """Build the encoder for a fitted processor."""
    check_heads("model.ft_transformer.token_dim", options.token_dim, options.attention_num_heads)
    return FTTransformer(processor, options)


class FTTransformer(Encoder):
    """Numbers and categories -> tokens -> blocks -> CLS or the mean, normalised."""

    def __init__(self, processor: TabularProcessor, options: FTTransformerOptions) -> None:
        super().__init__()
        width = options.token_dim
        self.out_dim = width
        self.prefix = processor.name
        self.tokens = nn.ModuleList()
        if processor.numbers:
            self.tokens.append(_Numbers(processor, width))
        if processor.categories:
            self.tokens.append(_Categories(processor, width))
        self.cls = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5))
        self.layers = nn.ModuleList(Block(width, options) for _ in range(options.num_blocks))
        self.pooling = options.pooling_mode
        self.norm = build_norm(width, options.normalization)
        self.activate = build_activation(options.head_activation)
        self.blocks = (self.tokens, *self.layers, self.norm)

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Map ``{p}_numbers`` and ``{p}_categories`` to ``features`` float32 (batch, out_dim)."""
        parts = [tokens(tensors) for tokens in self.tokens]
        cls = self.cls.expand(parts[0].shape[0], 1, -1)
        x = torch.cat([cls, *parts], dim=1)
        for layer in self.layers:
            x = layer(x)
        pooled = x.mean(dim=1) if self.pooling == "mean" else x[:, 0]
        return {"features": self.activate(self.norm(pooled))}


class _Numbers(Numbers):
    """A token is the scaled number times a vector, plus one for a gap."""

    def __init__(self, processor: TabularProcessor, width: int) -> None:
        super().__init__(processor)
        shape, bound = (len(processor.numbers), width), width**-0.5
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.missing = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        scaled, gaps = self.scale(tensors)
        learned = gaps.unsqueeze(-1) * self.missing
        return scaled.unsqueeze(-1) * self.weight + self.bias + learned


class _Categories(Categories):
    """A token is the category's vector plus the column's."""

    def __init__(self, processor: TabularProcessor, width: int) -> None:
        super().__init__(processor, width)
        self.bias = nn.Parameter(torch.zeros(len(processor.categories), width))

    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        return self.look_up(tensors) + self.bias
