"""Search spaces as data: which settings a search varies, over what, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from automm.config.section import Count, Positive, Section


class Choice(Section, frozen=True, kw_only=True, tag="choice"):
    """One of these values."""

    values: Annotated[tuple[Any, ...], Meta(min_length=1)]


class LogUniform(Section, frozen=True, kw_only=True, tag="loguniform"):
    """A number between two bounds, its logarithm evenly spread."""

    low: Positive
    high: Positive

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)


class Uniform(Section, frozen=True, kw_only=True, tag="uniform"):
    """A number between two bounds, evenly spread."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)


class RandInt(Section, frozen=True, kw_only=True, tag="randint"):
    """A whole number from ``low`` on and below ``high``, evenly spread, as Ray has it."""

    low: int
    high: int

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)


class LogRandInt(Section, frozen=True, kw_only=True, tag="lograndint"):
    """A whole number from ``low`` on and below ``high``, its logarithm evenly spread."""

    low: Count
    high: Count

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)


Range: TypeAlias = Choice | LogUniform | Uniform | RandInt | LogRandInt


class AshaOptions(Section, frozen=True, kw_only=True):
    """``scheduler_init_args``; Li et al., 2018, arXiv:1810.05934.

    Attributes:
        grace_period: Epochs that every trial has.
        reduction_factor: Of the trials that have come as far, one in so many goes on; and so many
            times as many epochs lie between two such decisions.
    """

    grace_period: Count = 1
    reduction_factor: Annotated[float, Meta(gt=1)] = 4


class BayesOptions(Section, frozen=True, kw_only=True):
    """``searcher_init_args``; tree-structured Parzen estimators, arXiv:1105.2011 and 2304.11127.

    Attributes:
        n_startup_trials: Drawn by chance before anything is learnt from them; a quarter of all,
            and between 3 and 10, where None.
        n_ei_candidates: Settings that are weighed against each other for each trial.
    """

    n_startup_trials: Count | None = None
    n_ei_candidates: Count = 24


class Resources(Section, frozen=True, kw_only=True):
    """``resources_per_trial``.

    Attributes:
        cpu: Threads; an even share where None.
        gpu: 1 or none; 1 where there are any, if None.
    """

    cpu: Count | None = None
    gpu: Annotated[int, Meta(ge=0, le=1)] | None = None


class SearchOptions(Section, frozen=True, kw_only=True):
    """``hyperparameter_tune_kwargs``; the first four names and defaults are AutoGluon's.

    Attributes:
        num_trials: Most trials.
        scheduler: ``ASHA`` stops trials that fall behind; ``FIFO`` ends each.
        searcher: ``bayes`` learns from trials that are done; ``random`` does not.
        num_to_keep: Best trials whose folders are kept while it searches.
        max_concurrent: Trials at once; None for one a GPU, or one for each four threads.
        resources_per_trial: Of each.
        scheduler_init_args: Of ``ASHA``.
        searcher_init_args: Of ``bayes``.
    """

    num_trials: Count = 512
    scheduler: Literal["ASHA", "FIFO"] = "ASHA"
    searcher: Literal["bayes", "random"] = "bayes"
    num_to_keep: Count = 3
    max_concurrent: Count | None = None
    resources_per_trial: Resources = Resources()
    scheduler_init_args: AshaOptions = AshaOptions()
    searcher_init_args: BayesOptions = BayesOptions()


class SearchSpace(SearchOptions, frozen=True, kw_only=True):
    """What a search tries, and how.

    Attributes:
        ranges: Key of the configuration, ``optim.lr``, -> its range.
    """

    ranges: Annotated[Mapping[str, Range], Meta(min_length=1)]


def _check_order(low: float, high: float) -> None:
    if low >= high:
        raise ValueError(f"low {low} is not below high {high}")
