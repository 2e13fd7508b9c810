"""What a user writes of a search -> settings that are fixed, and ranges of those that vary.

A range is an object of ``ray.tune`` (``tune.loguniform(1e-5, 1e-2)``), or data, for files and the
command line: ``{"loguniform": [1e-5, 1e-2]}``, ``{"uniform": [0, 1]}``, ``{"randint": [1, 9]}``,
``{"lograndint": [1, 99]}``, ``{"choice": ["adamw", "sgd"]}``. Either way it is data from here on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from automm.config.overrides import Hyperparameters, keys_of, override, pairs, today
from automm.config.schema import Config
from automm.config.search import (
    Choice,
    LogRandInt,
    LogUniform,
    RandInt,
    Range,
    SearchOptions,
    Uniform,
)
from automm_serve.errors import ConfigError, near_name, unknown_name

FORMS = ("choice", "uniform", "loguniform", "randint", "lograndint")

_RAY = "ray.tune."
"""Where the classes of its search spaces live; looked at by name, as importing it takes seconds."""

_NAMES = {"scheduler": ("ASHA", "FIFO"), "searcher": ("bayes", "random")}


def split(hyperparameters: Hyperparameters) -> tuple[dict[str, object], dict[str, Range]]:
    """Return the settings that are fixed, and the ranges of those that vary.

    Raises:
        ConfigError: A range is empty, has a form that is not known, or ends that do not fit.
    """
    fixed: dict[str, object] = {}
    ranges: dict[str, Range] = {}
    known = keys_of(Config())
    for given, value in pairs(hyperparameters):
        key, _, form = given.rpartition(".")
        if form not in FORMS and today(key) not in known:
            key, form = given, ""
        key = today(key)
        found = _range(key, {form: value} if form else value)
        if found is None:
            fixed[key] = value
            ranges.pop(key, None)
        else:
            ranges[key] = found
            fixed.pop(key, None)
    return fixed, ranges


def read_options(given: object) -> dict[str, Any]:
    """Return what ``hyperparameter_tune_kwargs`` sets, checked; None sets nothing.

    Raises:
        ConfigError: A name or a value is not known (the nearest name is offered).
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(
            where="hyperparameter_tune_kwargs",
            what=f"{given!r} is no dict",
            mend='Pass one, such as {"num_trials": 20}',
        )
    known = SearchOptions.__struct_fields__
    for name, value in given.items():
        if name not in known:
            near = near_name(str(name), known)
            raise ConfigError(
                where="hyperparameter_tune_kwargs",
                what=f"there is no {name!r}" + (f", but there is {near!r}" if near else ""),
                mend=f"Choose of {', '.join(known)}",
            )
        if name in _NAMES and value not in _NAMES[name]:
            raise unknown_name(name, value, _NAMES[name])
    found = {name: value for name, value in given.items() if value is not None}
    try:
        msgspec.convert(found, SearchOptions)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        raise ConfigError(
            where=f"hyperparameter_tune_kwargs, {where.strip('`$.') or 'values'}",
            what=what,
            mend="Give a value of that kind",
        ) from error
    return found


def check_ranges(config: Config, ranges: Mapping[str, Range]) -> None:
    """Refuse settings that do not exist, and values that do not fit them.

    Raises:
        ConfigError: There is one.
    """
    for key, found in ranges.items():
        for value in ends(found):
            override(config, {key: value})


def ends(found: Range) -> tuple[Any, ...]:
    """Return the values of a choice, and the least and the greatest of others."""
    match found:
        case Choice(values=values):
            return values
        case RandInt(low=low, high=high) | LogRandInt(low=low, high=high):
            return low, high - 1
        case Uniform(low=least, high=most) | LogUniform(low=least, high=most):
            return least, most


def _range(key: str, value: object) -> Range | None:
    """The range that a value is; None for a plain value."""
    if type(value).__module__.startswith(_RAY):
        value = _of_ray(key, value)
    if not isinstance(value, Mapping):
        return None
    if len(value) != 1:
        raise _no_range(key, value, "it has not one form")
    ((form, parts),) = value.items()
    if form not in FORMS:
        near = near_name(str(form), FORMS)
        more = f", but there is {near!r}" if near else ""
        raise _no_range(key, value, f"there is no form {form!r}{more}")
    if not isinstance(parts, list | tuple) or (form != "choice" and len(parts) != 2):
        wants = "a list of values" if form == "choice" else "a list of two numbers"
        raise _no_range(key, value, f"{form!r} wants {wants}")
    if form == "choice":
        data: dict[str, Any] = {"type": form, "values": _plain(key, parts)}
    else:
        data = {"type": form, "low": parts[0], "high": parts[1]}
    try:
        found: Range = msgspec.convert(data, Range)
    except msgspec.ValidationError as error:
        what = str(error).split(" - at")[0]
        if form == "choice" and not parts:
            what = "it has no values"
        raise _no_range(key, value, what) from error
    return found


def _of_ray(key: str, domain: Any) -> dict[str, list[Any]]:
    """An object of Ray as data; its class and its sampler say what it is."""
    kind, sampler = type(domain).__name__, type(domain.get_sampler()).__name__
    forms = {
        ("Categorical", "_Uniform"): "choice",
        ("Float", "_Uniform"): "uniform",
        ("Float", "_LogUniform"): "loguniform",
        ("Integer", "_Uniform"): "randint",
        ("Integer", "_LogUniform"): "lograndint",
    }
    form = forms.get((kind, sampler))
    if form is None:
        raise _no_range(key, domain, "this kind of Ray's spaces is not taken")
    parts = domain.categories if form == "choice" else [domain.lower, domain.upper]
    return {form: list(parts)}


def _plain(key: str, values: Any) -> list[Any]:
    """Values as JSON has them, each once: they are recorded, and read again after a kill."""
    found: list[Any] = []
    for value in values:
        try:
            plain = msgspec.json.decode(msgspec.json.encode(value))
        except (TypeError, msgspec.EncodeError) as error:
            raise _no_range(key, value, f"a {type(value).__name__} is no setting") from error
        if plain not in found:
            found.append(plain)
    return found


def _no_range(key: str, value: object, what: str) -> ConfigError:
    return ConfigError(
        where=f"search space of {key!r}",
        what=f"{value!r}: {what}",
        mend='Write {"choice": [...]}, or {"loguniform": [low, high]}, likewise uniform, randint '
        "and lograndint; or pass tune.choice, tune.loguniform and so on",
    )
