"""Results that gather in a file over several calls, two at once among them."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def read_results(path: Path) -> dict[str, Any]:
    """Return what there is so far."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write the results, and take over what another call has added meanwhile."""
    path.parent.mkdir(exist_ok=True)
    with _alone(path.parent):
        for part, rows in read_results(path).items():
            if isinstance(rows, dict):
                mine = results.setdefault(part, {})
                for key, value in rows.items():
                    mine.setdefault(key, value)
        write_json(path, results)


def write_json(path: Path, content: object) -> None:
    """Write a file whole, or not at all."""
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(content, indent=1) + "\n")
    fresh.replace(path)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other call of these writes into the folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
