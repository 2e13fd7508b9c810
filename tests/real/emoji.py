"""The emoji set that is shipped: the one real set that every machine has."""

from __future__ import annotations

import zipfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from automm_serve.table import read_table
from automm_serve.tensors import Table
from tests.needs import ROOT

ARCHIVE = ROOT / "examples" / "data" / "emoji.zip"


@cache
def _unpacked() -> TemporaryDirectory[str]:
    """The archive, unpacked once a run; the folder goes with the interpreter."""
    folder = TemporaryDirectory(prefix="automm_emoji_")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder.name)
    return folder


def emoji_tables() -> tuple[Table, Table]:
    """Return the training and the test rows; pictures are paths."""
    folder = Path(_unpacked().name)
    return read_table(folder / "train.csv"), read_table(folder / "test.csv")
