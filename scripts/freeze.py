"""Writes a constraint file from the environment that runs it: what this distribution stands on.

Usage: ``python scripts/freeze.py EXTRA[,EXTRA] [DISTRIBUTION ...] > requirements/dev.txt``. Names
and versions only: no index and no address, so the file holds wherever pip is told to look.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = "automm-edge"


def main(extras: str, others: list[str]) -> None:
    """Print one pin a line, sorted by name."""
    seen: set[tuple[str, frozenset[str]]] = set()
    pins = dict(_walk(PROJECT, frozenset(filter(None, extras.split(","))), seen))
    for other in others:
        pins.update(_walk(canonicalize_name(other), frozenset(), seen))
    pins.pop(PROJECT, None)
    print(f"# Written by: python scripts/freeze.py {' '.join([extras, *others])}")
    print(f"# Python {sys.version_info[0]}.{sys.version_info[1]}, {sys.platform}")
    for name, version in sorted(pins.items()):
        print(f"{name}=={version}")


def _walk(
    name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]
) -> Iterable[tuple[str, str]]:
    """Yield the name and version of a distribution and of all that it requires here."""
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    try:
        found = distribution(name)
    except PackageNotFoundError:
        print(f"freeze: {name} is required and not installed", file=sys.stderr)
        return
    # The local part names a build, "2.13.0+cpu"; the constraint must hold for each of them.
    yield name, Version(found.version).public
    for line in found.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
            continue
        wanted = frozenset(requirement.extras)
        yield from _walk(canonicalize_name(requirement.name), wanted, seen)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:])
