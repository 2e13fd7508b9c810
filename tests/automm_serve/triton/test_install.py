import sys
from importlib import metadata

import pytest

from automm_serve.errors import ConfigError, ServerError
from automm_serve.triton import install as module
from automm_serve.triton.install import PYTHONS, REQUIREMENTS, find_python, install

FITTING = f"{sys.version_info.major}.{sys.version_info.minor}" in PYTHONS


def pins() -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {name: version for name, version in pairs}


def test_everything_is_pinned_and_numpy_is_below_2():
    found = pins()
    assert found["nvidia-pytriton"] == "0.7.0"
    assert found["numpy"].startswith("1.26")
    assert set(found) >= {"onnxruntime", "pillow", "tokenizers", "msgspec"}


@pytest.mark.parametrize("package", ["onnxruntime", "pillow", "tokenizers", "msgspec"])
def test_what_prepares_a_row_is_pinned_as_here_where_bundles_are_exported(package):
    if metadata.version("numpy").startswith("1."):
        pytest.skip("this is not the environment that exports")
    assert pins()[package] == metadata.version(package)


def test_each_python_that_does_not_fit_is_named_with_its_fault(tmp_path):
    with pytest.raises(ServerError, match=r"no fitting Python: .*absent") as caught:
        find_python(tmp_path / "absent")
    assert caught.value.command == "automm triton install --python PATH"


@pytest.mark.skipif(not FITTING, reason="this Python is none that the server embeds")
def test_a_pip_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMM_TRITON_HOME", str(tmp_path / "managed"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ServerError, match="No matching distribution found for nvidia-pytriton"):
        install(sys.executable)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_something_else_is_not_replaced(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / "precious").write_text("")
    monkeypatch.setenv("AUTOMM_TRITON_HOME", str(home))
    monkeypatch.setattr(module, "find_python", lambda given: sys.executable)
    with pytest.raises(ConfigError, match=r"no pyvenv\.cfg"):
        install(replace=True)
    assert (home / "precious").exists()


@pytest.mark.slow
@pytest.mark.triton
def test_the_environment_is_made_and_found(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMM_TRITON_HOME", str(tmp_path / "managed"))
    said: list[str] = []
    parts = install(say=said.append)
    assert parts.binary.is_file()
    assert parts.facts.numpy == pins()["numpy"]
    assert install(say=said.append) == parts
    assert said[-1] == f"{tmp_path / 'managed'} is there already"
