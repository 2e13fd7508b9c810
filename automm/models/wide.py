"""A linear model beside the network (Wide & Deep; Cheng et al., 2016, arXiv:1606.07792).

What says much by itself, a job's code, a postcode, a word, has weights of its own here, which are
added to the logits. A few hundred rows are enough to fit them; through tokens and attention they
are not. They are fitted before the first step and stay; the network learns what they leave over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from torch import Tensor, nn

from automm.models.encoders.columns import Numbers, category_sizes, starts_of
from automm_serve.processors import AnyProcessor
from automm_serve.processors.tabular import TabularProcessor
from automm_serve.processors.text import TextProcessor

FORETOLD = "wide_foretold"
"""Tensor that a training row may bring: the logits of a linear model that has not learnt from it.

Of a row that it has learnt from it says more than of any other, and the network, which is shown
what is left over, would learn too little.
"""

MOST_WEIGHTS = 1_000_000
"""Of a part; one that would need more is left out."""

FARTHEST = 3.0
"""Deviations from the mean beyond which bounded numbers are alike: one far row bends a line."""

BEND = 3.0
"""How much the logarithm of a number bends; one deviation stays one."""

FORMS = ("bounded", "bent", "distance", "bent distance")


class Part(nn.Module):
    """The weights of what one tensor brings, all 0 until they are fitted.

    A row has ``amounts`` of some ``places``, and adds so much of the weights that stand there.

    Attributes:
        weight: float32 (places, width).
    """

    weight: Tensor

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        # A buffer: no optimiser, no decay and no averaging of adapters is meant for it.
        self.register_buffer("weight", torch.zeros(count, width))

    def places(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return rows of ``weight``, int32 (batch, entries)."""
        raise NotImplementedError

    def amounts(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return how much there is of each place, float32 (batch, entries)."""
        raise NotImplementedError

    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return what is added to the logits, float32 (batch, width)."""
        found = nn.functional.embedding(self.places(tensors), self.weight)
        return (found * self.amounts(tensors)[:, :, None]).sum(dim=1)


class CategoriesPart(Part):
    """Each category of each column, a gap and the unseen among them."""

    offsets: Tensor

    def __init__(self, processor: TabularProcessor, width: int) -> None:
        sizes = category_sizes(processor)
        super().__init__(sum(sizes), width)
        self.name = f"{processor.name}_categories"
        self.register_buffer("offsets", starts_of(sizes))

    def places(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return the place of each column's category."""
        return tensors[self.name] + self.offsets

    def amounts(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return ones."""
        return torch.ones_like(tensors[self.name], dtype=self.weight.dtype)

    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return what is added to the logits, float32 (batch, width)."""
        return nn.functional.embedding(self.places(tensors), self.weight).sum(dim=1)


class NumbersPart(Part):
    """Each number in four forms, of which a fit takes one or two, and whether it is missing.

    The forms are deviations from the mean, bounded or bent as a logarithm bends, and how far each
    is from 0. The bent ones suit what is mostly 0 and seldom large, the distances what is best, or
    worst, in the middle.
    """

    keep_fp32 = True  # see Numbers

    def __init__(self, processor: TabularProcessor, width: int) -> None:
        super().__init__((1 + len(FORMS)) * len(processor.numbers), width)
        scaled = replace(processor, scaler_with_mean=True, scaler_with_std=True)
        self.numbers = Numbers(scaled)

    def form_of(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the position in ``FORMS`` of what stands there; -1 for gaps."""
        return places // len(self.numbers.mean) - 1

    def places(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return all places: the gaps, and each form behind them."""
        rows = len(tensors[self.numbers.name])
        return torch.arange(len(self.weight), dtype=torch.int32).expand(rows, -1)

    def amounts(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return 1 for each gap, whose number is the mean, and 0 for the others; then the forms."""
        scaled, gaps = self.numbers.scale(tensors)
        bounded = scaled.clamp(-FARTHEST, FARTHEST)
        bent = scaled.sign() * (1 + BEND * scaled.abs()).log() / math.log(1 + BEND)
        return torch.cat([gaps, bounded, bent, bounded.abs(), bent.abs()], dim=1)

    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return what is added to the logits, float32 (batch, width)."""
        return self.amounts(tensors) @ self.weight


class TokensPart(Part):
    """Each token of the texts, in whatever field it stands; long texts count no more than short."""

    def __init__(self, processor: TextProcessor, width: int) -> None:
        super().__init__(processor.vocabulary, width)
        self.name = processor.name

    def places(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return the tokens."""
        return tensors[f"{self.name}_ids"]

    def amounts(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return one over the root of the row's number of tokens; 0 for padding."""
        mask = tensors[f"{self.name}_mask"].to(self.weight.dtype)
        return mask / mask.sum(dim=1, keepdim=True).clamp(min=1).sqrt()


class Wide(nn.Module):
    """A linear model of the tokens of texts, of categories and of numbers.

    Attributes:
        parts: Name of a tensor -> its weights.
        bias: float32 (width,).
        share: Of the network beside it, float32 (): where the network does no good, less than 1.
    """

    bias: Tensor
    share: Tensor

    def __init__(self, parts: Mapping[str, Part], width: int) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.register_buffer("bias", torch.zeros(width))
        self.register_buffer("share", torch.ones(()))

    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return its logits, float32 (batch, width); in training those that a row brings."""
        if FORETOLD in tensors:
            return tensors[FORETOLD]
        logits = self.bias
        for part in self.parts.values():
            logits = logits + part(tensors)
        return logits


def build_wide(processors: Sequence[AnyProcessor], width: int) -> Wide | None:
    """Build it for what these processors read; None where that is pictures alone.

    Args:
        processors: Of the model.
        width: Of the logits.
    """
    parts: dict[str, Part] = {}
    for processor in processors:
        name = processor.name
        if isinstance(processor, TextProcessor):
            if processor.vocabulary * width <= MOST_WEIGHTS:
                parts[f"{name}_ids"] = TokensPart(processor, width)
        elif isinstance(processor, TabularProcessor):
            if processor.categories and sum(category_sizes(processor)) * width <= MOST_WEIGHTS:
                parts[f"{name}_categories"] = CategoriesPart(processor, width)
            if processor.numbers:
                parts[f"{name}_numbers"] = NumbersPart(processor, width)
    return Wide(parts, width) if parts else None
