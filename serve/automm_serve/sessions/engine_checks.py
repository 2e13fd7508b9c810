"""What is known of an engine beside what it is, and what is said where the two differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from automm_serve.engines import Engine, Profile
from automm_serve.errors import BundleError, DataError
from automm_serve.tensors import BATCH, Axis, TensorSpec

COMPILE = "automm compile BUNDLE"


def check_version(path: Path, engine: Engine, trt: Any) -> None:
    """Refuse an engine that another version of its builder wrote: it would not load.

    Raises:
        BundleError: The versions differ.
    """
    if trt.__version__ != engine.version:
        raise BundleError(
            where=str(path),
            what=f"it was built by {engine.builder} {engine.version}, and {trt.__version__} is "
            "installed here",
            mend="Build it anew on this machine",
            command=COMPILE,
        )


def check_loaded(
    path: Path,
    engine: Engine,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    live: Any,
    trt: Any,
) -> None:
    """Refuse an engine whose tensors or shapes are not those that its record and the bundle say.

    Args:
        path: Of the engine.
        engine: What is known of it.
        inputs: What it should read.
        outputs: What it should give.
        live: The engine itself.
        trt: The module that loaded it.

    Raises:
        BundleError: It is another one.
    """
    names = [live.get_tensor_name(number) for number in range(live.num_io_tensors)]
    found = {
        (name, live.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
         np.dtype(trt.nptype(live.get_tensor_dtype(name))).name)
        for name in names
    }  # fmt: skip
    said = {(spec.name, True, spec.dtype) for spec in inputs}
    said |= {(spec.name, False, spec.dtype) for spec in outputs}
    if said != found:
        raise unlike(path, f"it reads and gives {_words(found)}, not {_words(said)}")
    if live.num_optimization_profiles != len(engine.profiles):
        count = live.num_optimization_profiles
        raise unlike(path, f"it has {count} profiles, not {len(engine.profiles)}")
    for number, profile in enumerate(engine.profiles):
        for spec in inputs:
            shapes = live.get_tensor_profile_shape(spec.name, number)
            for place, limit in ((0, "min"), (2, "max")):
                sizes = {name: getattr(spread, limit) for name, spread in profile.axes.items()}
                if tuple(shapes[place]) != shape_of(spec, sizes):
                    what = f"profile {number} takes other shapes of {spec.name} than said"
                    raise unlike(path, what)


def outside(path: Path, profiles: tuple[Profile, ...], sizes: dict[str, int]) -> DataError:
    """Make the error for sizes that no profile takes; it says the ranges, and what builds more."""
    asked = ", ".join(f"{name} {size}" for name, size in sizes.items())
    allowed = "; or ".join(
        ", ".join(f"{name} {spread.min} to {spread.max}" for name, spread in profile.axes.items())
        for profile in profiles
    )
    most = {name: max(profile.axes[name].max for profile in profiles) for name in profiles[0].axes}
    larger = {name: size for name, size in sizes.items() if size > most.get(name, size)}
    flags = [
        f" --max-{'batch' if name == BATCH.name else 'length'} {size}"
        for name, size in larger.items()
    ]
    return DataError(
        where=str(path),
        what=f"the engine was not built for {asked}; it takes {allowed}",
        mend="Ask for what it takes, or build it for more",
        command=COMPILE + "".join(flags),
    )


def unlike(path: Path, what: str) -> BundleError:
    """Make the error for an engine that is not the one which was listed."""
    return BundleError(
        where=str(path), what=what, mend="Build it anew on this machine", command=COMPILE
    )


def shape_of(spec: TensorSpec, sizes: dict[str, int]) -> tuple[int, ...]:
    """Return the shape of a tensor, its axes of these sizes."""
    return tuple(sizes[a.name] if isinstance(a, Axis) else a for a in spec.shape)


def _words(tensors: set[tuple[str, bool, str]]) -> str:
    return ", ".join(
        f"{'<' if is_input else '>'}{name} {dtype}" for name, is_input, dtype in sorted(tensors)
    )
