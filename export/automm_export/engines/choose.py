"""Which builder this machine has, and what it cannot build here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple

from automm_export.engines.capabilities import check_capabilities, split_turing
from automm_export.engines.job import NAMES
from automm_export.engines.options import BUILDERS, EngineOptions
from automm_serve.engines import BuilderName
from automm_serve.errors import ConfigError, MissingDependencyError, unknown_name
from automm_serve.gpu import Gpu, find_gpus
from automm_serve.releases import check_tensorrt, find_release

EXTRAS: dict[BuilderName, str] = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
"""Builder -> the extra of this distribution that installs it."""


class Choice(NamedTuple):
    """What can be built here.

    Attributes:
        builder: None where there is none.
        gpu: Of this machine, which TensorRT builds for; None where there is none.
        missing: What is not built here, why, and the command that does it where: a line each.
    """

    builder: BuilderName | None
    gpu: Gpu | None
    missing: tuple[str, ...]


def choose_builder(options: EngineOptions) -> Choice:
    """Return the builder that the options want and this machine has.

    Raises:
        ConfigError: There is no builder of that name, or nothing is known of the release.
    """
    if options.builder not in BUILDERS:
        raise unknown_name("builder", options.builder, BUILDERS)
    if options.target:
        find_release(options.target)
    gpu = next(iter(find_gpus()), None)
    plans, portable = _why_no_plans(gpu, options.target), _why_no_rtx()
    match options.builder:
        case _ if _wants_plans(options):
            return Choice(None if plans else "tensorrt", gpu, (plans,) if plans else ())
        case "tensorrt_rtx":
            return Choice(
                None if portable else "tensorrt_rtx", gpu, (portable,) if portable else ()
            )
        case _:
            if not plans:
                return Choice("tensorrt", gpu, ())
            if not portable:
                return Choice("tensorrt_rtx", gpu, (plans,))
            return Choice(None, gpu, (plans, portable))


def capabilities_of(
    choice: Choice, options: EngineOptions, precisions: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return, for each precision, the compute capabilities of its engine.

    Raises:
        ConfigError: One is asked for that the builder does not know.
    """
    if choice.builder == "tensorrt" and choice.gpu is not None:
        return dict.fromkeys(precisions, (choice.gpu.capability,))
    names = check_capabilities(options.capabilities)
    return split_turing(names, precisions, bool(options.precisions))


def need_builder(options: EngineOptions) -> Choice:
    """Return the builder, where nothing is to be done without one.

    Raises:
        MissingDependencyError: It is not installed.
        ConfigError: It is, and needs a GPU that is not here.
    """
    choice = choose_builder(options)
    if choice.builder is not None:
        return choice
    if _wants_plans(options) and installed("tensorrt"):
        raise ConfigError(
            where=NAMES["tensorrt"],
            what="it builds on the GPU that will serve, and this machine has none",
            mend="Run the same command there, or pass --builder tensorrt_rtx for RTX cards",
        )
    # Where a GPU is, TensorRT proper builds for it, whichever it is.
    plans = _wants_plans(options) or choice.gpu is not None
    name: BuilderName = "tensorrt" if plans else "tensorrt_rtx"
    raise MissingDependencyError(
        where=NAMES[name],
        what="it is not installed",
        mend="Install it with",
        command=_pip(name),
    )


def installed(builder: BuilderName) -> bool:
    """Tell whether a builder can be imported; it is not imported for that."""
    return find_spec(builder) is not None


def builder_version(builder: BuilderName) -> str:
    """Return the version of a builder without importing it; empty where no package says it."""
    families: dict[BuilderName, Sequence[str]] = {
        "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
        "tensorrt_rtx": ("tensorrt-rtx-cu12", "tensorrt-rtx-cu13", "tensorrt-rtx"),
    }
    for package in families[builder]:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""


def check_release(target: str, builder: BuilderName, version: str) -> None:
    """Look that a release reads what a builder writes; nothing to look at where none is named.

    Args:
        target: ``triton:26.04``, or empty.
        builder: That writes.
        version: Of the builder; empty where it is not known yet.

    Raises:
        ConfigError: It does not, or nothing is known of the release.
    """
    if not target:
        return
    release = find_release(target)
    if builder != "tensorrt":
        raise ConfigError(
            where=f"target {target!r}",
            what="its TensorRT backend reads plans of TensorRT, and none of TensorRT for RTX",
            mend="Build with TensorRT on a machine with the GPU that will serve",
            command=f"automm compile BUNDLE --builder tensorrt --target {target}",
        )
    if version:
        check_tensorrt(release, version)


def _wants_plans(options: EngineOptions) -> bool:
    """A release of Triton reads plans alone."""
    return options.builder == "tensorrt" or (options.builder == "auto" and bool(options.target))


def _why_no_plans(gpu: Gpu | None, target: str) -> str:
    """Why no plan can be built here, and the command that builds it; empty where one can."""
    if gpu is not None and installed("tensorrt"):
        return ""
    lacks = "no GPU is here" if gpu is None else "TensorRT is not installed"
    return (
        f"plans for target gpu_trt (data-centre cards and Jetson): {lacks}; "
        "run on the machine that will serve, with TensorRT: automm compile BUNDLE"
        + (f" --target {target}" if target else "")
    )


def _why_no_rtx() -> str:
    if installed("tensorrt_rtx"):
        return ""
    return (
        "engines for target gpu_rtx (RTX cards): TensorRT for RTX is not installed; "
        f"run anywhere: {_pip('tensorrt_rtx')} && automm compile BUNDLE"
    )


def _pip(builder: BuilderName) -> str:
    return f"pip install 'automm-edge[{EXTRAS[builder]}]'"
