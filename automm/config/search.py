"""Search spaces as data: which settings a search varies, and over what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from automm.config.section import Positive, Section


class Choice(Section, frozen=True, kw_only=True, tag="choice"):
    """One of these values."""

    values: Annotated[tuple[Any, ...], Meta(min_length=1)]


class LogUniform(Section, frozen=True, kw_only=True, tag="loguniform"):
    """A number between two bounds, its logarithm evenly spread."""

    low: Positive
    high: Positive

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")


class Uniform(Section, frozen=True, kw_only=True, tag="uniform"):
    """A number between two bounds, evenly spread."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")


Range: TypeAlias = Choice | LogUniform | Uniform


class SearchSpace(Section, frozen=True, kw_only=True):
    """What a search tries; the names are AutoGluon's ``hyperparameter_tune_kwargs``.

    Attributes:
        ranges: Key of the configuration, ``optim.lr``, -> its range.
        searcher: ``bayes`` learns from trials that are done; ``random`` does not.
        scheduler: ``ASHA`` stops trials that fall behind; ``FIFO`` ends each.
        num_trials: Most trials.
    """

    ranges: Annotated[Mapping[str, Range], Meta(min_length=1)]
    searcher: Literal["bayes", "random"] = "bayes"
    scheduler: Literal["ASHA", "FIFO"] = "ASHA"
    num_trials: Annotated[int, Meta(ge=1)] = 512
