"""All or nothing on disk."""

import os
import stat
from pathlib import Path

import pytest

from automm_serve.atomic import check_place, write_folder
from automm_serve.errors import ConfigError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(folder: Path, text: str) -> None:
    (folder / "bundle.json").write_text(text)


def fail_halfway(path: Path) -> None:
    with write_folder(path, replace=True) as folder:
        write(folder, "half")
        raise KeyError


def meet_another(path: Path) -> None:
    with write_folder(path) as folder:
        write(folder, "ours")
        path.mkdir()
        (path / "theirs").touch()


def test_a_folder_appears_whole_when_the_block_ends(tmp_path):
    with write_folder(tmp_path / "new" / "bundle") as folder:
        write(folder, "one")
        assert not (tmp_path / "new" / "bundle").exists()
    assert (tmp_path / "new" / "bundle" / "bundle.json").read_text() == "one"
    assert names(tmp_path / "new") == ["bundle"]


def test_a_block_that_raises_leaves_nothing(tmp_path):
    with pytest.raises(KeyError):
        fail_halfway(tmp_path / "bundle")
    assert names(tmp_path) == []


def test_a_block_that_raises_leaves_the_old_folder_as_it_was(tmp_path):
    with write_folder(tmp_path / "bundle") as folder:
        write(folder, "old")
    with pytest.raises(KeyError):
        fail_halfway(tmp_path / "bundle")
    assert (tmp_path / "bundle" / "bundle.json").read_text() == "old"
    assert names(tmp_path) == ["bundle"]


def test_replace_takes_the_place_of_the_old_folder_and_leaves_none_of_its_files(tmp_path):
    with write_folder(tmp_path / "bundle") as folder:
        write(folder, "old")
        (folder / "only_old").touch()
    with write_folder(tmp_path / "bundle", replace=True, known_by="bundle.json") as folder:
        write(folder, "new")
    assert names(tmp_path / "bundle") == ["bundle.json"]
    assert (tmp_path / "bundle" / "bundle.json").read_text() == "new"
    assert names(tmp_path) == ["bundle"]


def test_a_folder_that_is_not_empty_is_refused_before_any_work(tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "photo.jpg").touch()
    with pytest.raises(ConfigError, match="not empty"), write_folder(tmp_path / "bundle"):
        pytest.fail("the block was entered")


def test_replace_does_not_touch_a_folder_that_is_none_of_ours(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").touch()
    with (
        pytest.raises(ConfigError, match=r"holds no bundle\.json"),
        write_folder(tmp_path / "home", replace=True, known_by="bundle.json"),
    ):
        pytest.fail("the block was entered")
    assert names(tmp_path / "home") == ["letter.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "bundle").mkdir()
    with write_folder(tmp_path / "bundle") as folder:
        write(folder, "new")
    assert names(tmp_path / "bundle") == ["bundle.json"]


@pytest.mark.parametrize("make", [lambda p: p.touch(), lambda p: p.symlink_to(p.parent)])
def test_a_file_or_a_link_in_the_way_is_refused(tmp_path, make):
    make(tmp_path / "bundle")
    with (
        pytest.raises(ConfigError, match="something else"),
        write_folder(tmp_path / "bundle", replace=True),
    ):
        pytest.fail("the block was entered")


def test_a_folder_that_appeared_meanwhile_is_not_overwritten(tmp_path):
    with pytest.raises(ConfigError, match="not empty"):
        meet_another(tmp_path / "x")
    assert names(tmp_path / "x") == ["theirs"]
    assert names(tmp_path) == ["x"]


def test_others_may_read_the_folder_as_the_umask_says(tmp_path):
    before = os.umask(0o022)
    try:
        with write_folder(tmp_path / "bundle") as folder:
            write(folder, "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "bundle").stat().st_mode) == 0o755


def test_a_file_above_is_refused_and_so_is_a_name_that_is_too_long(tmp_path):
    (tmp_path / "rows.csv").touch()
    with pytest.raises(ConfigError, match=r"rows\.csv is not a folder"):
        check_place(tmp_path / "rows.csv" / "new" / "bundle")
    with pytest.raises(ConfigError, match="too long"):
        check_place(tmp_path / ("n" * 250))
    assert check_place(tmp_path / "new" / "bundle") == tmp_path / "new" / "bundle"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be written"):
        check_place(tmp_path / "bundle")
