"""Settings for the next trial: by chance, or by what earlier trials came to.

They follow from the seed, the trial's number and the trials that are done, and from nothing else:
a search that goes on after a kill tries what it would have tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from automm.config.search import (
    Choice,
    LogRandInt,
    LogUniform,
    RandInt,
    Range,
    SearchSpace,
    Uniform,
)
from automm.search.record import Trial, goodness
from automm_serve.optional import require


def suggest(
    space: SearchSpace, trials: Sequence[Trial], *, number: int, seed: int, greater_is_better: bool
) -> dict[str, Any]:
    """Return key -> value for a trial.

    Args:
        space: What is varied.
        trials: Those so far; of those that run, nothing is taken.
        number: Of the trial.
        seed: Of the search.
        greater_is_better: Of the trials' scores.

    Raises:
        MissingDependencyError: ``bayes``, and optuna is not installed.
    """
    if space.searcher == "random":
        random = np.random.default_rng([seed, number])
        return {key: _draw(found, random) for key, found in space.ranges.items()}
    return _by_bayes(space, trials, [seed, number], greater_is_better)


def _draw(found: Range, random: np.random.Generator) -> Any:
    match found:
        case Choice(values=values):
            return values[int(random.integers(len(values)))]
        case Uniform(low=low, high=high):
            return float(random.uniform(low, high))
        case LogUniform(low=low, high=high):
            return min(max(math.exp(random.uniform(math.log(low), math.log(high))), low), high)
        case RandInt(low=low, high=high):
            return int(random.integers(low, high))
        case LogRandInt(low=low, high=high):
            drawn = math.exp(random.uniform(math.log(low), math.log(high)))
            return min(max(int(drawn), low), high - 1)


def _by_bayes(
    space: SearchSpace, trials: Sequence[Trial], seed: list[int], greater_is_better: bool
) -> dict[str, Any]:
    """Ask a sampler that is made for this one question, and told all that is known."""
    optuna = require("optuna", purpose="searcher 'bayes'")
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        options = space.searcher_init_args
        sampler = optuna.samplers.TPESampler(
            seed=int(np.random.SeedSequence(seed).generate_state(1)[0]),
            n_startup_trials=options.n_startup_trials or min(10, max(3, space.num_trials // 4)),
            n_ei_candidates=options.n_ei_candidates,
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        spread = {key: _spread(optuna, found) for key, found in space.ranges.items()}
        for trial in trials:
            good = goodness(trial.score, greater_is_better=greater_is_better)
            if trial.status in ("finished", "stopped") and math.isfinite(good):
                place = {k: _place(found, trial.settings[k]) for k, found in space.ranges.items()}
                study.add_trial(
                    optuna.trial.create_trial(params=place, distributions=spread, value=good)
                )
        asked = study.ask(spread).params
    finally:
        optuna.logging.set_verbosity(before)
    return {key: _value(found, asked[key]) for key, found in space.ranges.items()}


def _spread(optuna: Any, found: Range) -> Any:
    kinds = optuna.distributions
    match found:
        case Choice(values=values):
            return kinds.CategoricalDistribution(tuple(range(len(values))))
        case Uniform(low=low, high=high):
            return kinds.FloatDistribution(low, high)
        case LogUniform(low=low, high=high):
            return kinds.FloatDistribution(low, high, log=True)
        case RandInt(low=low, high=high):
            return kinds.IntDistribution(low, high - 1)
        case LogRandInt(low=low, high=high):
            return kinds.IntDistribution(low, high - 1, log=True)


def _place(found: Range, value: Any) -> Any:
    """A choice by its place: a value of it may be a list."""
    return found.values.index(value) if isinstance(found, Choice) else value


def _value(found: Range, place: Any) -> Any:
    return found.values[int(place)] if isinstance(found, Choice) else place
