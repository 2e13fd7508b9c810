"""Engines of a bundle's graphs, as far as this machine can build them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from automm_export.engines.options import EngineOptions
from automm_serve.manifest import GraphFiles


class Built(NamedTuple):
    """What came of it.

    Attributes:
        graphs: With the engines that were built.
        missing: Lines that say what was not built, why, and which command builds it where.
    """

    graphs: dict[str, GraphFiles]
    missing: list[str]


def build_engines(folder: Path, graphs: Mapping[str, GraphFiles], options: EngineOptions) -> Built:
    """Build the engines of every graph in a folder that is being written."""
    raise NotImplementedError
