"""Columns of a table inside of the graph: numbers imputed and scaled, categories looked up."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from automm.config.models import TabularOptions
from automm_serve.processors.tabular import FIRST_KNOWN, TabularProcessor
from automm_serve.schema import Column
from automm_serve.tensors import Table

FARTHEST = 1e4
"""Deviations from the mean beyond which numbers are alike: 1e38 would give NaN in the attention."""


_RULES = ("minimum_cat_count", "maximum_num_cat", "scaler_with_mean", "scaler_with_std")


def fit_columns(
    name: str, table: Table, columns: Sequence[Column], options: TabularOptions
) -> TabularProcessor:
    """Fit the processor of numbers and categories; what the options leave open is its default."""
    asked = {rule: getattr(options, rule) for rule in _RULES}
    return TabularProcessor.fit(
        name,
        table,
        [column.name for column in columns if column.kind == "number"],
        [column.name for column in columns if column.kind == "category"],
        **{rule: value for rule, value in asked.items() if value is not None},
    )


class Numbers(nn.Module):
    """Imputes with the mean, and standardises, or does as much of it as the processor says."""

    keep_fp32 = True  # a mean of 500,000 has no place in 16 bits

    mean: Tensor
    deviation: Tensor

    def __init__(self, processor: TabularProcessor) -> None:
        super().__init__()
        self.name = f"{processor.name}_numbers"
        self.centres, self.scales = processor.scaler_with_mean, processor.scaler_with_std
        # Buffers, not constants: they follow the module to its device, its file and the graph.
        self.register_buffer("mean", torch.tensor([c.mean for c in processor.numbers]))
        self.register_buffer("deviation", torch.tensor([c.deviation for c in processor.numbers]))

    def scale(self, tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the numbers in deviations from the mean, and 1 where there was none, 0 elsewhere.

        Without scaling they are in the column's unit; without centring 0 is the column's zero.
        Both are float32 (batch, columns) and finite.
        """
        numbers = tensors[self.name]
        gaps = torch.isnan(numbers)
        scaled = (torch.where(gaps, self.mean, numbers) - self.mean) / self.deviation
        scaled = scaled.clamp(-FARTHEST, FARTHEST)
        if not self.scales:
            scaled = scaled * self.deviation + (0.0 if self.centres else self.mean)
        elif not self.centres:
            scaled = scaled + self.mean / self.deviation
        return scaled, gaps.to(scaled.dtype)


def category_sizes(processor: TabularProcessor) -> list[int]:
    """Return how many places the categories of each column need, a gap and the unseen with them."""
    return [FIRST_KNOWN + len(column.known) for column in processor.categories]


def starts_of(sizes: Sequence[int]) -> Tensor:
    """Return where the stretch of each column begins, int32 (columns,)."""
    ends = torch.tensor(sizes).cumsum(0)
    return (ends - torch.tensor(sizes)).to(torch.int32)


class Categories(nn.Module):
    """One embedding for all columns: each has its own stretch of it, and one lookup does."""

    offsets: Tensor

    def __init__(self, processor: TabularProcessor, width: int) -> None:
        super().__init__()
        self.name = f"{processor.name}_categories"
        sizes = category_sizes(processor)
        self.register_buffer("offsets", starts_of(sizes))
        self.embedding = nn.Embedding(sum(sizes), width)
        nn.init.uniform_(self.embedding.weight, -(width**-0.5), width**-0.5)

    def look_up(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return vectors float32 (batch, columns, width)."""
        found: Tensor = self.embedding(tensors[self.name] + self.offsets)
        return found
