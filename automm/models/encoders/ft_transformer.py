"""FT-Transformer (Gorishniy et al., 2021, arXiv:2106.11959): a token a column, attention, CLS.

Imputing and scaling are in here, so that they are in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from automm.config.schema import FTTransformerOptions
from automm.models.encoders.base import Encoder
from automm_serve.errors import ConfigError
from automm_serve.processors.tabular import FIRST_KNOWN, TabularProcessor
from automm_serve.schema import Column
from automm_serve.tensors import Table

KINDS = ("number", "category")

FARTHEST = 1e4
"""Deviations from the mean beyond which numbers are alike: 1e38 would give NaN in the attention."""
OPTIONS = FTTransformerOptions


def fit(
    name: str, table: Table, columns: Sequence[Column], options: FTTransformerOptions
) -> TabularProcessor:
    """Fit the processor whose tensors the encoder will read."""
    return TabularProcessor.fit(
        name,
        table,
        [column.name for column in columns if column.kind == "number"],
        [column.name for column in columns if column.kind == "category"],
        minimum_cat_count=options.minimum_cat_count,
        maximum_num_cat=options.maximum_num_cat,
    )


def build(processor: TabularProcessor, options: FTTransformerOptions) -> FTTransformer:
    """Build the encoder for a fitted processor."""
    if options.token_dim % options.attention_num_heads:
        raise ConfigError(
            where="hyperparameter 'model.ft_transformer.token_dim'",
            what=f"{options.token_dim} is no multiple of {options.attention_num_heads} heads",
            mend="Change it, or attention_num_heads",
        )
    return FTTransformer(processor, options)


class FTTransformer(Encoder):
    """Numbers and categories -> tokens -> blocks -> the CLS token, normalised."""

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
        self.layers = nn.ModuleList(_Block(options) for _ in range(options.num_blocks))
        self.norm = nn.LayerNorm(width)  # not BatchNorm: one row alone must get the same answer
        self.blocks = (self.tokens, *self.layers, self.norm)

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Map ``{p}_numbers`` and ``{p}_categories`` to ``features`` float32 (batch, out_dim)."""
        parts = [tokens(tensors) for tokens in self.tokens]
        cls = self.cls.expand(parts[0].shape[0], 1, -1)
        x = torch.cat([cls, *parts], dim=1)
        for layer in self.layers:
            x = layer(x)
        return {"features": self.norm(x[:, 0])}


class _Numbers(nn.Module):
    """Impute and standardise; a token is the number times a vector, plus one for a gap."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, processor: TabularProcessor, width: int) -> None:
        super().__init__()
        self.name = f"{processor.name}_numbers"
        # Buffers, not constants: they follow the module to its device, its file and the graph.
        self.register_buffer("mean", torch.tensor([c.mean for c in processor.numbers]))
        self.register_buffer("deviation", torch.tensor([c.deviation for c in processor.numbers]))
        shape, bound = (len(processor.numbers), width), width**-0.5
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.missing = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        numbers = tensors[self.name]
        gaps = torch.isnan(numbers)
        scaled = (torch.where(gaps, self.mean, numbers) - self.mean) / self.deviation
        scaled = scaled.clamp(-FARTHEST, FARTHEST)
        learned = gaps.to(scaled.dtype).unsqueeze(-1) * self.missing
        return scaled.unsqueeze(-1) * self.weight + self.bias + learned


class _Categories(nn.Module):
    """One embedding for all columns: each has its own stretch of it, and one lookup does."""

    offsets: Tensor

    def __init__(self, processor: TabularProcessor, width: int) -> None:
        super().__init__()
        self.name = f"{processor.name}_categories"
        sizes = torch.tensor([FIRST_KNOWN + len(c.known) for c in processor.categories])
        self.register_buffer("offsets", (sizes.cumsum(0) - sizes).to(torch.int32))
        self.embedding = nn.Embedding(int(sizes.sum()), width)
        nn.init.uniform_(self.embedding.weight, -(width**-0.5), width**-0.5)
        self.bias = nn.Parameter(torch.zeros(len(sizes), width))

    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        found: Tensor = self.embedding(tensors[self.name] + self.offsets)
        return found + self.bias


class _Block(nn.Module):
    """Pre-norm attention, then a gated feed-forward (GEGLU; Shazeer, 2020, arXiv:2002.05202)."""

    def __init__(self, options: FTTransformerOptions) -> None:
        super().__init__()
        width, hidden = options.token_dim, options.ffn_hidden_size
        self.heads = options.attention_num_heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.ffn_norm = nn.LayerNorm(width)
        self.ffn_in = nn.Linear(width, 2 * hidden)
        self.ffn_out = nn.Linear(hidden, width)
        self.attention_dropout = nn.Dropout(options.attention_dropout)
        self.residual_dropout = nn.Dropout(options.residual_dropout)
        self.ffn_dropout = nn.Dropout(options.ffn_dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.residual_dropout(self._attend(self.norm(x)))
        value, gate = self.ffn_in(self.ffn_norm(x)).chunk(2, dim=-1)
        hidden = self.ffn_dropout(value * functional.gelu(gate))
        mixed: Tensor = x + self.residual_dropout(self.ffn_out(hidden))
        return mixed

    def _attend(self, x: Tensor) -> Tensor:
        """Attention written out: it exports to fewer nodes than the fused operator."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(dim=2))
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        attended = self.attention_dropout(scores.softmax(dim=-1)) @ v
        mixed: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return mixed
