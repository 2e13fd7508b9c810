"""The data of the quickstart: whole, small, split as it says, and without what gives it away."""

import csv
import hashlib
import io
import zipfile

import pytest
from PIL import Image

from examples.emoji import ARCHIVE, LABEL, LEFT_OUT, MODALITIES, unpack


def read(archive, part):
    return list(csv.DictReader(io.StringIO(archive.read(f"{part}.csv").decode())))


def test_the_archive_holds_a_picture_for_each_row_and_the_notices():
    assert ARCHIVE.stat().st_size <= 4_000_000
    with zipfile.ZipFile(ARCHIVE) as archive:
        rows = read(archive, "train") + read(archive, "test")
        names = {name for name in archive.namelist() if name.startswith("images/")}
        assert {row["image"] for row in rows} == names
        assert len(names) == 1906
        first = Image.open(io.BytesIO(archive.read(rows[0]["image"])))
        assert (first.mode, first.size) == ("P", (48, 48))
        notices = archive.read("NOTICES").decode()
    for holder in ("2013 Cal Henderson", "2013 Google", "Unicode, Inc.", "Changed: resized"):
        assert holder in notices


@pytest.mark.parametrize(("part", "count"), [("train", 1515), ("test", 391)])
def test_a_row_is_on_the_side_that_its_hash_says(part, count):
    with zipfile.ZipFile(ARCHIVE) as archive:
        rows = read(archive, part)
    assert len(rows) == count
    for row in rows:
        code = row["image"].removeprefix("images/").removesuffix(".png").upper()
        digest = hashlib.md5(code.encode(), usedforsecurity=False).hexdigest()
        assert (int(digest[:8], 16) % 5 == 0) == (part == "test")


def test_unpacking_leaves_out_what_gives_the_label_away(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "old.csv").write_text("from an earlier run")
    for path in unpack(tmp_path / "data"):
        with path.open(newline="", encoding="utf-8") as file:
            row = next(csv.DictReader(file))
        assert {*row} == {LABEL, *(name for part in MODALITIES.values() for name in part)}
        assert not {*row} & {*LEFT_OUT}
        assert (path.parent / row["image"]).is_file()
    assert not (tmp_path / "data" / "old.csv").exists()
