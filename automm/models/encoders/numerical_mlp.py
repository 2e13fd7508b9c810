"""Columns of numbers through an MLP. Imputing and scaling are in here: they are in the graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from automm.config.schema import NumericalMLPOptions
from automm.models.encoders.base import Encoder
from automm.models.encoders.columns import Numbers, fit_columns
from automm.models.mlp import mlp_layers
from automm_serve.processors.tabular import TabularProcessor
from automm_serve.schema import Column
from automm_serve.tensors import Table

KINDS = ("number",)
OPTIONS = NumericalMLPOptions


def fit(
    name: str, table: Table, columns: Sequence[Column], options: NumericalMLPOptions
) -> TabularProcessor:
    """Fit the processor whose tensor the encoder will read."""
    return fit_columns(name, table, columns, options)


def build(processor: TabularProcessor, options: NumericalMLPOptions) -> NumericalMLP:
    """Build the encoder for a fitted processor."""
    return NumericalMLP(processor, options)


class NumericalMLP(Encoder):
    """Scaled numbers beside the flags of those that are missing -> layers."""

    def __init__(self, processor: TabularProcessor, options: NumericalMLPOptions) -> None:
        super().__init__()
        self.numbers = _Scaled(processor)
        hidden = [options.hidden_size] * options.num_layers
        self.layers = mlp_layers(2 * len(processor.numbers), hidden, options)
        self.out_dim = options.hidden_size
        self.blocks = (self.layers,)

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Map ``{p}_numbers`` to ``features`` float32 (batch, out_dim)."""
        return {"features": self.layers(self.numbers(tensors))}


class _Scaled(Numbers):
    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        return torch.cat(self.scale(tensors), dim=1)
