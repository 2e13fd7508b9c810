"""Ray's scratch folder has a path that is short enough for its sockets."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("torch")

from automm.search import cluster


def test_a_long_folder_for_temporary_files_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("job-" + "7" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with tempfile.TemporaryDirectory(dir=cluster._short_folder()) as folder:
        assert len(folder) <= cluster.LONGEST_PATH + len("/automm-12345678")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert cluster._short_folder() is None
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")  # nothing is written
    assert cluster._short_folder() is None
