"""Additive attention (Fastformer; Wu et al., 2021, arXiv:2108.09084): its cost grows as the tokens.

Queries are summed up to one, which each key is multiplied by; these are summed up to one, which
each value is multiplied by.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AdditiveAttention(nn.Module):
    """Tokens mixed by two weighted sums in each head.

    Args:
        width: Of a token, a multiple of the heads.
        heads: Number of heads.
        dropout: Of the weights of the sums.
        shares_weights: Queries are values, too.
    """

    def __init__(self, width: int, heads: int, dropout: float, *, shares_weights: bool) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = None if shares_weights else nn.Linear(width, width)
        self.weigh_queries = nn.Linear(width, heads)
        self.weigh_keys = nn.Linear(width, heads)
        self.mix = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens float32 (batch, tokens, width) to the same shape."""
        queries, keys = self.query(x), self.key(x)
        values = queries if self.value is None else self.value(x)
        found = self._sum(queries, self.weigh_queries(queries)) * keys
        found = self._sum(found, self.weigh_keys(found)) * values
        mixed: Tensor = self.out(self.mix(found) + queries)
        return mixed

    def _sum(self, tokens: Tensor, scores: Tensor) -> Tensor:
        """The weighted sum over the tokens, (batch, 1, width); the weights differ by head."""
        width = tokens.shape[-1] // self.heads
        weights = self.dropout((scores * width**-0.5).softmax(dim=1))
        parts: Tensor = torch.unflatten(tokens, -1, (self.heads, width)) * weights.unsqueeze(-1)
        return parts.sum(dim=1, keepdim=True).flatten(2)
