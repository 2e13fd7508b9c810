"""The presets as a list: models, sizes, and what each needs that is not here."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from msgspec import Struct

from automm.config.checkpoints import CHECKPOINTS, hub_name
from automm.config.presets import ABOUT, DEFAULT, HPO, PRESETS, SEARCHES
from automm.config.search import Choice, LogRandInt, LogUniform, RandInt, Range, Uniform
from automm.models.encoders.checkpoints import PACKAGES, find_local

ENCODERS = ("hf_text", "timm_image")
"""Those of a preset that stand on a checkpoint."""


class ModelFacts(Struct, frozen=True, omit_defaults=True):
    """An encoder of a preset.

    Attributes:
        encoder: Its name in ``model.names``.
        checkpoint: Name of its weights.
        parameters: Number of weights, where known.
        megabytes: Of them in float32, where known.
        source: ``package``, ``folder`` or ``hub cache``: where they are here; ``missing``.
        command: Brings them, where they are missing.
    """

    encoder: str
    checkpoint: str
    parameters: int | None
    megabytes: float | None
    source: str
    command: str = ""


class PresetFacts(Struct, frozen=True, omit_defaults=True):
    """A preset.

    Attributes:
        name: As ``presets`` takes it.
        default: Whether it is taken where none is named.
        summary: What it is for.
        problem_types: That it is for.
        models: Its encoders with a checkpoint; those without are trained from nothing.
        others: Its other encoders, and the fusion.
        gpu: Whether one is advised for training.
        hub: Whether weights must come from a hub, as they are not here.
        searches: Setting -> what a search varies it over, of a preset that searches.
    """

    name: str
    summary: str
    problem_types: tuple[str, ...]
    models: tuple[ModelFacts, ...]
    others: tuple[str, ...]
    gpu: bool
    hub: bool
    default: bool = False
    searches: dict[str, str] = {}


def describe_presets() -> list[PresetFacts]:
    """Return every preset; nothing is downloaded, and no model is built."""
    found = []
    for name, config in PRESETS.items():
        about = ABOUT[name]
        models = tuple(
            _model(encoder, getattr(config.model, encoder).checkpoint_name)
            for encoder in ENCODERS
            if encoder in config.model.names
        )
        fixed = PresetFacts(
            name=name,
            summary=about.summary,
            problem_types=about.problem_types,
            models=models,
            others=tuple(one for one in config.model.names if one not in ENCODERS),
            gpu=about.gpu,
            hub=any(one.source == "missing" and one.checkpoint not in PACKAGES for one in models),
            default=name == DEFAULT,
        )
        found.append(fixed)
    return [*found, *(_searching(one) for one in found if one.name in SEARCHES)]


def _searching(fixed: PresetFacts) -> PresetFacts:
    ranges = SEARCHES[fixed.name].ranges
    named = {f"model.{one}.checkpoint_name" for one in ENCODERS} & ranges.keys()
    models = [
        _model(key.split(".")[1], str(value))
        for key in sorted(named)
        for value in _values(ranges[key])
    ]
    return PresetFacts(
        name=f"{fixed.name}{HPO}",
        summary=f"{fixed.name}, its settings searched for",
        problem_types=fixed.problem_types,
        models=tuple(models) or fixed.models,
        others=fixed.others,
        gpu=True,
        hub=any(one.source == "missing" and one.checkpoint not in PACKAGES for one in models),
        searches={key: _words(one) for key, one in ranges.items()},
    )


def _values(found: Range) -> tuple[Any, ...]:
    return found.values if isinstance(found, Choice) else ()


def _words(found: Range) -> str:
    match found:
        case Choice(values=values):
            return "one of " + ", ".join(map(str, values))
        case LogUniform(low=low, high=high):
            return f"{low:g} to {high:g}, by its logarithm"
        case Uniform(low=low, high=high):
            return f"{low:g} to {high:g}"
        case RandInt(low=first, high=behind):
            return f"{first} to {behind - 1}"
        case LogRandInt(low=first, high=behind):
            return f"{first} to {behind - 1}, by its logarithm"


def _model(encoder: str, checkpoint: str) -> ModelFacts:
    known = CHECKPOINTS.get(checkpoint)
    source, command = _source(checkpoint)
    return ModelFacts(
        encoder,
        checkpoint,
        known.parameters if known else None,
        round(known.megabytes, 1) if known else None,
        source,
        command,
    )


def _source(checkpoint: str) -> tuple[str, str]:
    """Where its weights are here, and else the command that brings them."""
    local = find_local(checkpoint)
    if local is not None:
        return ("folder" if Path(checkpoint).expanduser().is_dir() else "package"), ""
    if _is_cached(hub_name(checkpoint)):
        return "hub cache", ""
    if checkpoint in PACKAGES:
        return "missing", "automm weights install edge"
    return "missing", f"hf download {hub_name(checkpoint)}"


def _is_cached(repository: str) -> bool:
    """Tell whether the hub's cache has its configuration; the hub is not asked."""
    if find_spec("huggingface_hub") is None:
        return False
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repository, "config.json"), str)
