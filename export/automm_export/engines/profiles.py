"""Optimisation profiles from the specs of a graph, and their check: a builder makes none.

TensorRT takes ids of up to 64 tokens beside a mask of up to 32, and 600 positions for a model that
has 512, without a word. Here a range belongs to the name of an axis, so that inputs which share
the axis cannot differ, and no length is above the largest one that the pipeline makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from automm_export.engines.options import EngineOptions
from automm_serve.engines import Profile, Range
from automm_serve.errors import ConfigError, ExportError
from automm_serve.tensors import BATCH, Axis, TensorSpec

MOST_PROFILES = 2
MOST_BATCH = 1024
"""The exporter names this as the largest batch of a graph."""


def make_profiles(
    inputs: Sequence[TensorSpec],
    options: EngineOptions,
    lengths: Mapping[str, Sequence[int]] | None = None,
) -> tuple[Profile, ...]:
    """Return the profiles of a graph, the one of short texts first where there are two.

    Args:
        inputs: Of the graph.
        options: Ranges of the batch; most tokens, which must be the graph's own limit; how many.
        lengths: Axis -> the sizes that a GPU pads it to, ascending: what the engine is tuned for.
            The middle one of the sizes of the axis where it is not named.

    Raises:
        ConfigError: A range is empty, above what the graph takes, or below what it may be asked.
        ExportError: Two inputs name the same axis and give it other sizes.
    """
    check_batch(options)
    sizes_of = _lengths(inputs)
    _check_length(sizes_of, options)
    batch = Range(options.min_batch, options.best_batch, options.max_batch)
    found = []
    for number in range(options.profiles):
        is_last = number == options.profiles - 1
        axes = {BATCH.name: batch}
        for name, sizes in sizes_of.items():
            short, *_ = (lengths or {}).get(name) or sizes[(len(sizes) - 1) // 2 :]
            # A long profile begins at the shortest text too: the texts of a row differ in length.
            best = short if number == 0 else sizes[-1]
            axes[name] = Range(sizes[0], best, sizes[-1] if is_last else best)
        found.append(Profile(axes))
    # Equal ones are one: a graph without texts has no short and long ones.
    return tuple(profile for at, profile in enumerate(found) if profile not in found[:at])


def check_batch(options: EngineOptions) -> None:
    """Refuse a range of rows that is none, and a number of profiles that cannot be had.

    Raises:
        ConfigError: The message names the option.
    """
    least, best, most = options.min_batch, options.best_batch, options.max_batch
    faults = (
        ("--min-batch", least, 1, most, "--max-batch"),
        ("--opt-batch", best, least, most, "--max-batch"),
        ("--max-batch", most, 1, MOST_BATCH, "what a graph takes"),
    )
    for name, value, low, high, ceiling in faults:
        if value > high:
            raise ConfigError(
                where=name,
                what=f"{value} is above {ceiling}, which is {high}",
                mend=f"Pass a number from {low} to {high}",
            )
        if value < low:
            floor = "--min-batch, which is " if name == "--opt-batch" else ""
            raise ConfigError(
                where=name, what=f"{value} is below {floor}{low}", mend=f"Pass {low} or more"
            )
    if least > 1:
        raise ConfigError(
            where="--min-batch",
            what=f"an engine for {least} rows and more refuses a request of one row",
            mend="Leave it out",
        )
    if not 1 <= options.profiles <= MOST_PROFILES:
        raise ConfigError(
            where="--profiles",
            what=f"{options.profiles} cannot be had",
            mend=f"Pass 1, or {MOST_PROFILES} to tune for short texts apart from long ones",
        )
    if options.workspace_mb is not None and options.workspace_mb < 1:
        raise ConfigError(
            where="--workspace-mb",
            what=f"{options.workspace_mb} is no amount of memory",
            mend="Pass the megabytes that the builder may use as scratch memory",
        )


def shapes_of(
    profile: Profile, spec: TensorSpec
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the least, the best and the largest shape of a graph's input in a profile."""
    ranges = [
        profile.axes[size.name] if isinstance(size, Axis) else Range(size, size, size)
        for size in spec.shape
    ]
    least, best, most = zip(*ranges, strict=True)
    return least, best, most


def varies(spec: TensorSpec) -> bool:
    """Tell whether an input has an axis that a profile must give a range."""
    return any(isinstance(size, Axis) for size in spec.shape)


def describe_profile(profile: Profile) -> str:
    """Say in words what an engine takes: ``1 to 32 rows, 16 to 128 tokens``."""
    words = []
    for name, (least, _, most) in profile.axes.items():
        unit = "rows" if name == BATCH.name else name.replace("_length", " tokens")
        words.append(f"{least} to {most} {unit}" if least < most else f"{most} {unit}")
    return ", ".join(words)


def _lengths(inputs: Sequence[TensorSpec]) -> dict[str, tuple[int, ...]]:
    """The sizes of each axis but the batch, in the order of the inputs."""
    found: dict[str, tuple[int, ...]] = {}
    for spec in inputs:
        for axis in spec.shape:
            if not isinstance(axis, Axis) or axis == BATCH:
                continue
            if not axis.sizes or found.setdefault(axis.name, axis.sizes) != axis.sizes:
                raise ExportError(
                    where=f"input {spec.name!r}",
                    what=f"its axis {axis.name!r} has the sizes {axis.sizes}, and another input "
                    f"gives it {found.get(axis.name, ())}",
                    mend="Report this with the settings of the predictor",
                )
    return found


def _check_length(lengths: dict[str, tuple[int, ...]], options: EngineOptions) -> None:
    """A text that the engine does not take is one that the bundle must not take either."""
    wanted = options.max_length
    if wanted is None:
        return
    if not lengths:
        raise ConfigError(
            where="--max-length",
            what="the model reads no text, so that nothing has this length",
            mend="Leave it out",
        )
    limit = max(sizes[-1] for sizes in lengths.values())
    if wanted > limit:
        raise ConfigError(
            where="--max-length",
            what=f"the texts of this model have {limit} tokens at most, not {wanted}",
            mend="Leave it out",
        )
    if wanted < limit:
        raise ConfigError(
            where="--max-length",
            what=f"the bundle takes texts of up to {limit} tokens, and an engine for {wanted} "
            "would refuse some of them",
            mend="Leave it out, or export again, so that every session cuts texts there",
            command=f"automm export PREDICTOR --out BUNDLE --trt --max-length {wanted}",
        )
