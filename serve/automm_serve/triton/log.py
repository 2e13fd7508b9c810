"""One line of explanation out of a Triton server's log."""

from __future__ import annotations

import re
from pathlib import Path

_FAILED_LOADS = (
    re.compile(r"failed to load '(?P<model>[^']+)' version \d+: (?P<why>.+)"),
    re.compile(r"Poll failed for model directory '(?P<model>[^']+)': (?P<why>.+)"),
    re.compile(r"failed to load model '(?P<model>[^']+)': (?P<why>.+)"),
)
_ERROR = re.compile(r"Z E \d+ |^error:")
_NOISE = ("CudaDriverHelper", "creating server: Internal - failed to load all models")
"""Errors that say nothing: the first is always there without a GPU, the second is no cause."""

_TAIL_BYTES = 200_000


def explain(path: Path) -> str:
    """Return why the server does not run: which model failed and why, else its last errors."""
    text = _tail(path)
    causes: dict[str, str] = {}
    for pattern in _FAILED_LOADS:
        for found in pattern.finditer(text):
            # The traceback follows a backslash and an n, written out.
            why = found["why"].split(r"\n")[0].rstrip('"; ')
            causes.setdefault(found["model"], why)
    if causes:
        return "; ".join(f"model {model!r}: {why}" for model, why in causes.items())
    lines = text.splitlines()
    errors = [line for line in lines if _ERROR.search(line) and not any(n in line for n in _NOISE)]
    if errors:
        return " | ".join(_plain(line) for line in errors[-2:])
    # An unknown flag is named in the first line, before the whole help text.
    return next((line.strip() for line in lines if line.strip()), "its log is empty")


def _plain(line: str) -> str:
    """A line without time, process and source."""
    message = line.split("] ", 1)[-1] if "] " in line else line
    return message.strip().strip('"')


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
