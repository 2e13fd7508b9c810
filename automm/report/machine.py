"""What this machine can run, and the command that adds what is missing."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

from msgspec import Struct

from automm.report.weights import WEIGHTS, installed
from automm_serve.errors import ServerError
from automm_serve.gpu import find_gpus
from automm_serve.threads import thread_budget

DISTRIBUTION = "automm-edge"
EXTRAS = ("cpu", "gpu", "tensorrt", "tensorrt-rtx", "client", "parquet", "metrics", "train")
"""Those that add an ability; the others are for developers."""

_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)[^;]*(?:;.*extra\s*==\s*['\"]([\w-]+)['\"])?")


class Part(Struct, frozen=True):
    """One thing that this machine has or lacks.

    Attributes:
        name: Extra, server or set of weights.
        has: Package or program -> version; None for what is missing.
        command: Adds what is missing; empty where nothing is.
    """

    name: str
    has: dict[str, str | None]
    command: str = ""


class MachineReport(Struct, frozen=True):
    """What this machine can run.

    Attributes:
        version: Of this distribution.
        python: Version of the interpreter.
        system: Operating system and processor.
        threads: That one prediction may use.
        devices: Graphics processors.
        parts: The base install, the extras, the server, the weights.
        problems: What does not go together, and what to do.
    """

    version: str
    python: str
    system: str
    threads: int
    devices: tuple[str, ...]
    parts: tuple[Part, ...]
    problems: tuple[str, ...]


def describe_machine() -> MachineReport:
    """Look at versions, extras, server, weights and devices; nothing heavy is imported."""
    return MachineReport(
        version=_version(DISTRIBUTION) or "not installed",
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        threads=thread_budget(),
        devices=_devices(),
        parts=(*_packages(), _server(), *_weights()),
        problems=tuple(_conflicts()),
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _packages() -> list[Part]:
    """The base install and each extra, as the distribution itself declares them."""
    groups: dict[str, dict[str, str | None]] = {"base": {}, **{name: {} for name in EXTRAS}}
    try:
        lines = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        lines = []
    for line in lines:
        found = _REQUIREMENT.match(line)
        extra = (found[2] or "base") if found else ""
        if found and extra in groups:
            groups[extra][found[1]] = _version(found[1])
    return [
        Part(name, has, _pip(name) if None in has.values() else "") for name, has in groups.items()
    ]


def _pip(extra: str) -> str:
    return f"pip install '{DISTRIBUTION}" + ("'" if extra == "base" else f"[{extra}]'")


def _server() -> Part:
    from automm_serve.triton import locate  # asks an interpreter: only when it is wanted

    try:
        server = locate.locate()
    except ServerError as error:
        return Part("triton", {"tritonserver": None}, error.command or locate.INSTALL)
    release = ".".join(map(str, server.release)) if server.release else "unknown release"
    has: dict[str, str | None] = {"tritonserver": f"{release}, {server.origin}"}
    has |= dict.fromkeys(server.facts.absent)
    return Part("triton", has, locate.INSTALL if server.facts.absent else "")


def _weights() -> list[Part]:
    parts = []
    for name, packages in WEIGHTS.items():
        has = {package.name: installed(package) for package in packages}
        missing = None in has.values()
        parts.append(
            Part(f"weights {name}", has, f"automm weights install {name}" if missing else "")
        )
    return parts


def _devices() -> tuple[str, ...]:
    return tuple(
        f"{gpu.name} (compute capability {gpu.capability}, {gpu.memory_bytes / 2**30:.0f} GiB)"
        for gpu in find_gpus()
    )


def _conflicts() -> list[str]:
    if _version("onnxruntime") and _version("onnxruntime-gpu"):
        return [
            "onnxruntime and onnxruntime-gpu are both installed, and write the same files: remove "
            "both, then install one of the extras [cpu] and [gpu]"
        ]
    return []
