"""Columns of categories through an MLP, each an embedding first."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from automm.config.schema import CategoricalMLPOptions
from automm.models.encoders.base import Encoder
from automm.models.encoders.columns import Categories, fit_columns
from automm.models.mlp import mlp_layers
from automm_serve.processors.tabular import TabularProcessor
from automm_serve.schema import Column
from automm_serve.tensors import Table

KINDS = ("category",)
OPTIONS = CategoricalMLPOptions


def fit(
    name: str, table: Table, columns: Sequence[Column], options: CategoricalMLPOptions
) -> TabularProcessor:
    """Fit the processor whose tensor the encoder will read."""
    return fit_columns(name, table, columns, options)


def build(processor: TabularProcessor, options: CategoricalMLPOptions) -> CategoricalMLP:
    """Build the encoder for a fitted processor."""
    return CategoricalMLP(processor, options)


class CategoricalMLP(Encoder):
    """Embeddings side by side -> layers."""

    def __init__(self, processor: TabularProcessor, options: CategoricalMLPOptions) -> None:
        super().__init__()
        # AutoGluon's width of an embedding; the richest column's is taken for all of them.
        most = max(len(column.known) for column in processor.categories)
        width = max(2, int(min(100, 1.6 * most**0.56)))
        self.categories = _Looked(processor, width)
        hidden = [options.hidden_size] * options.num_layers
        self.layers = mlp_layers(width * len(processor.categories), hidden, options)
        self.out_dim = options.hidden_size
        self.blocks = (self.categories, self.layers)

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Map ``{p}_categories`` to ``features`` float32 (batch, out_dim)."""
        return {"features": self.layers(self.categories(tensors))}


class _Looked(Categories):
    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        return self.look_up(tensors).flatten(1)
