from __future__ import annotations

import sys

import pytest

from automm_serve.errors import MissingDependencyError
from automm_serve.optional import EXTRAS, require
from tests.needs import ROOT


def test_a_package_that_is_there_is_imported():
    assert require("json", purpose="a test").loads("1") == 1


def test_a_missing_package_is_named_with_its_purpose_and_the_command_that_adds_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    with pytest.raises(MissingDependencyError) as caught:
        require("pyarrow.parquet", purpose="reading rows.parquet")
    assert str(caught.value) == (
        "reading rows.parquet: the package 'pyarrow' is not installed. Install it with:\n"
        "    pip install 'automm-edge[parquet]'"
    )


def test_a_module_of_ours_that_stands_on_a_missing_package_says_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "automm_serve.sessions.onnxruntime", raising=False)
    with pytest.raises(MissingDependencyError, match=r"'onnxruntime' is not[\s\S]*\[cpu\]"):
        require("automm_serve.sessions.onnxruntime", purpose="a bundle")


def test_a_package_that_is_there_but_broken_raises_its_own_error(monkeypatch, tmp_path):
    (tmp_path / "broken_package.py").write_text("import no_such_part\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_part") as caught:
        require("broken_package", purpose="a test")
    assert not isinstance(caught.value, MissingDependencyError)


def test_every_extra_that_is_named_is_one_of_the_distribution():
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])
