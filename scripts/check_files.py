"""Checks that text files end in one newline, have no trailing space, and that no file is large.

Usage: ``python scripts/check_files.py [FILE ...]``; all of the repository where none is named.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 512 * 1024
LARGE = {"examples/data/emoji.zip": 4 * 1024 * 1024}
"""Files that may be larger, and how large: what the quickstart trains on."""
BINARY = (".plan", ".rtx")
"""Ends of names of files that are no text, though they may have no NUL: engines of tests."""


def main(names: list[str]) -> int:
    """Print each fault; return 1 where there is one."""
    faults = [fault for name in names or _tracked() for fault in _faults(name)]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


def _tracked() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name]


def _faults(name: str) -> Iterable[str]:
    path = ROOT / name
    if not path.is_file() or path.is_symlink():
        return
    content = path.read_bytes()
    most = LARGE.get(name, MOST_BYTES)
    if len(content) > most:
        yield f"{name}: {len(content):,} bytes, at most {most:,} are allowed"
    if not content or b"\0" in content or name.endswith(BINARY):
        return
    if not content.endswith(b"\n") or content.endswith(b"\n\n"):
        yield f"{name}: does not end in one newline"
    for number, line in enumerate(content.split(b"\n"), 1):
        if line != line.rstrip():
            yield f"{name}:{number}: white space at the end of the line"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
