"""The emoji set that is shipped: the one real set that every machine has."""

from __future__ import annotations

import zipfile
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from automm_serve.table import read_table
from automm_serve.tensors import Table
from tests.needs import ROOT

ARCHIVE = ROOT / "examples" / "data" / "emoji.zip"


@cache
def emoji_folder() -> Path:
    """Unpack the archive once a run, and return the folder with ``train.csv`` and ``test.csv``."""
    folder = Path(mkdtemp(prefix="automm_emoji_"))
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    return folder


def emoji_tables() -> tuple[Table, Table]:
    """Return the training and the test rows; pictures are paths."""
    folder = emoji_folder()
    return read_table(folder / "train.csv"), read_table(folder / "test.csv")
