"""A linear model beside the deep one (Wide & Deep; Cheng et al., 2016, arXiv:1606.07792).

A category that says much by itself, a job's code or a postcode, has a number of its own here, which
is added to the logits. A few hundred rows are enough to learn it; through tokens and attention they
are not. Numbers have none: the deep model learns them as fast, and what is skewed less badly.
"""

from __future__ import annotations

from torch import Tensor, nn

from automm.models.encoders.columns import Categories
from automm_serve.processors.tabular import TabularProcessor


class Wide(Categories):
    """A weight for each category, all 0 at first; a gap and the unseen are two of each column's.

    Args:
        processor: Of one category at least.
        width: Of the logits.
    """

    def __init__(self, processor: TabularProcessor, width: int) -> None:
        super().__init__(processor, width)
        nn.init.zeros_(self.embedding.weight)

    def forward(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return what is added to the logits, float32 (batch, width)."""
        return self.look_up(tensors).sum(dim=1)
