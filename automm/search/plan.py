"""What a call of ``fit`` asks to be searched, checked before any time is spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import torch
from msgspec import Struct

from automm.config.overrides import Hyperparameters
from automm.config.presets import HPO, find_preset, find_search
from automm.config.schema import EnvConfig
from automm.config.search import Range, SearchSpace
from automm.search.spaces import check_ranges, read_options, split
from automm.search.state import SearchState
from automm.training.devices import find_devices, is_launched
from automm_serve.errors import ConfigError
from automm_serve.optional import require
from automm_serve.threads import thread_budget

THREADS_EACH = 4
"""Of a trial on a CPU, where nothing is said: small models gain little from more."""


class Plan(Struct, frozen=True):
    """A search that is asked for.

    Attributes:
        preset: As it was named.
        fixed: Settings on top of it that all trials share.
        space: What is varied, and how.
    """

    preset: str | None
    fixed: dict[str, Any]
    space: SearchSpace


class Slots(Struct, frozen=True):
    """What the machine gives.

    Attributes:
        trials: At once.
        threads: Of each.
        gpus: Of each.
    """

    trials: int
    threads: int
    gpus: int


def plan_search(
    preset: str | None,
    hyperparameters: Sequence[Hyperparameters],
    options: object,
    *,
    goes_on: bool = False,
) -> Plan | None:
    """Return what is to be searched; None where no search is asked for.

    Args:
        preset: Its name; one that ends in ``_hpo`` asks for a search.
        hyperparameters: Settings and ranges, later ones above earlier ones and the preset's.
        options: ``hyperparameter_tune_kwargs``.
        goes_on: Whether the fit goes on from an earlier one.

    Raises:
        ConfigError: A name or a value is not known, a range has no search, a search no range, or
            there is something to go on from.
        MissingDependencyError: Ray or the searcher's library is not installed.
    """
    fixed: dict[str, Any] = {}
    ranges: dict[str, Range] = {}
    for given in hyperparameters:
        more, varied = split(given)
        fixed = {key: value for key, value in fixed.items() if key not in varied} | more
        ranges = {key: found for key, found in ranges.items() if key not in more} | varied
    searches = preset is not None and preset.endswith(HPO)
    if options is None and not searches:
        _refuse_ranges(ranges)
        return None
    if goes_on:
        raise ConfigError(
            where="hyperparameter_tune_kwargs",
            what="a search begins anew, and there is an earlier fit to go on from",
            mend="Make a new MultiModalPredictor",
        )
    settings = read_options(options)
    if searches:
        config, space = find_search(str(preset))
        ranges = {k: found for k, found in space.ranges.items() if k not in fixed} | ranges
    else:
        config = find_preset(preset)
    if not ranges:
        raise ConfigError(
            where="hyperparameter_tune_kwargs",
            what="no setting is to be varied",
            mend='Give one a range, such as hyperparameters={"optim.lr": {"loguniform": [1e-5, '
            '1e-2]}}, or take a preset that searches, such as "edge_hpo"',
        )
    check_ranges(config, ranges)
    space = msgspec.convert({"ranges": ranges, **settings}, SearchSpace)
    _require(space)
    return Plan(preset, fixed, space)


def plan_again(
    found: SearchState, preset: str | None, hyperparameters: Hyperparameters, options: object
) -> Plan:
    """Return the plan of a search that was cut off.

    Raises:
        ConfigError: Another one is asked for.
        MissingDependencyError: Ray or the searcher's library is not installed.
    """
    if preset is not None or hyperparameters or options is not None:
        raise ConfigError(
            where="going on with a search",
            what="its preset, settings and ranges are those that it began with",
            mend="Leave them out, or search anew into another folder",
        )
    _require(found.space)
    return Plan(found.preset, found.fixed, found.space)


def find_slots(space: SearchSpace, env: EnvConfig) -> Slots:
    """Return how many trials run at once, and what each has.

    Raises:
        ConfigError: More is asked for than there is, or trials of several devices.
    """
    if env.num_gpus > 1 or env.num_nodes > 1 or is_launched():
        raise ConfigError(
            where="a search, env.num_gpus (--devices)",
            what="each trial has one device",
            mend="Leave it out; max_concurrent says how many run at once",
        )
    where, wanted = find_devices(env), space.resources_per_trial
    there = torch.cuda.device_count() if where.accelerator == "gpu" else 0
    gpus = min(1, there) if wanted.gpu is None else wanted.gpu
    threads = thread_budget()
    if gpus > there or (wanted.cpu or 1) > threads:
        raise ConfigError(
            where="hyperparameter_tune_kwargs, resources_per_trial",
            what=f"a trial wants {wanted.cpu or 1} threads and {gpus} GPUs, there are "
            f"{threads} and {there}",
            mend="Ask for less",
        )
    most = there if gpus else max(1, threads // (wanted.cpu or THREADS_EACH))
    trials = min(space.max_concurrent or most, space.num_trials)
    if (gpus and trials > there) or trials * (wanted.cpu or 1) > threads:
        raise ConfigError(
            where="hyperparameter_tune_kwargs, max_concurrent",
            what=f"{trials} trials at once want more than {threads} threads and {there} GPUs",
            mend="Ask for fewer",
        )
    return Slots(trials, wanted.cpu or max(1, threads // trials), gpus)


def fixed_by(slots: Slots) -> dict[str, Any]:
    """Return the settings that follow from what a trial is given.

    One without a GPU sees those of the machine, and would train on all of them.
    """
    return {} if slots.gpus or not torch.cuda.is_available() else {"env.num_gpus": 0}


def _require(space: SearchSpace) -> None:
    """Say what is not installed before any time is spent."""
    for package in ("ray", "optuna")[: 2 if space.searcher == "bayes" else 1]:
        require(package, purpose="a search (hyperparameter_tune_kwargs)")


def _refuse_ranges(ranges: dict[str, Range]) -> None:
    if ranges:
        raise ConfigError(
            where=f"hyperparameter {next(iter(ranges))!r}",
            what="it is a range, and no search is asked for",
            mend='Pass hyperparameter_tune_kwargs={"num_trials": 20} (--num-trials 20), or a value',
        )
