from __future__ import annotations

import os
from pathlib import Path

import pytest

from automm_serve.errors import ConfigError
from automm_serve.threads import OPENMP_VARIABLE, VARIABLE, thread_budget


@pytest.fixture
def cores(monkeypatch):
    """Eight cores, and no variable in the environment."""
    for variable in (VARIABLE, OPENMP_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    return 8


def write_quota(folder: Path, version: int, quota: object, period: int = 100_000) -> None:
    """Write the files of a control group; its mount has other files in each version."""
    if version == 2:
        (folder / "cpu.max").write_text(f"{quota} {period}\n")
    else:
        (folder / "cpu").mkdir()
        (folder / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (folder / "cpu" / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("quota", "budget"),
    [(200_000, 2), (250_000, 2), (50_000, 1), (1_600_000, 8)],
)
def test_the_quota_of_a_container_is_the_budget(tmp_path, cores, version, quota, budget):
    write_quota(tmp_path, version, quota)
    assert thread_budget(tmp_path) == budget


@pytest.mark.parametrize(("version", "quota"), [(1, "-1"), (2, "max"), (2, "0")])
def test_without_a_quota_the_affinity_counts(tmp_path, cores, version, quota):
    write_quota(tmp_path, version, quota)
    assert thread_budget(tmp_path) == cores


@pytest.mark.parametrize("content", ["", "100000", "nonsense and more"])
def test_a_file_that_cannot_be_read_sets_no_quota(tmp_path, cores, content):
    (tmp_path / "cpu.max").write_text(content)
    assert thread_budget(tmp_path) == cores


def test_where_there_are_no_control_groups_and_no_affinity_the_cores_count(
    tmp_path, cores, monkeypatch
):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert thread_budget(tmp_path / "absent") == 1


@pytest.mark.parametrize(
    ("value", "budget"), [("3", 3), ("3,2", 3), ("100", 8), ("0", 8), ("", 8), ("many", 8)]
)
def test_the_variable_of_openmp_is_a_bound(tmp_path, cores, monkeypatch, value, budget):
    monkeypatch.setenv(OPENMP_VARIABLE, value)
    assert thread_budget(tmp_path) == budget


def test_the_variable_stands_above_the_quota(tmp_path, cores, monkeypatch):
    write_quota(tmp_path, 2, 100_000)
    monkeypatch.setenv(VARIABLE, "6")
    assert thread_budget(tmp_path) == 6


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", ""])
def test_a_variable_that_is_no_number_of_threads_is_refused(value, monkeypatch):
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ConfigError, match=VARIABLE):
        thread_budget()
