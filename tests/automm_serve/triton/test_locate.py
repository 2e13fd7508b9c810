import os
import sys
from pathlib import Path

import pytest

from automm_serve.errors import ServerError
from automm_serve.triton.locate import home, locate, probe


@pytest.fixture
def nothing(tmp_path, monkeypatch):
    """A machine without a server."""
    monkeypatch.setenv("AUTOMM_TRITON_HOME", str(tmp_path / "managed"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    (tmp_path / "path").mkdir()
    return tmp_path


def make_server(root: Path) -> Path:
    """Lay files out as a container has them."""
    (root / "bin").mkdir(parents=True)
    (root / "backends" / "python").mkdir(parents=True)
    (root / "backends" / "onnxruntime").mkdir()
    binary = root / "bin" / "tritonserver"
    binary.write_text("")
    binary.chmod(0o755)
    return binary


def test_where_there_is_none_the_error_says_where_was_looked_and_the_command(nothing):
    with pytest.raises(ServerError) as caught:
        locate()
    text = str(caught.value)
    assert f"none on the PATH, none in {nothing / 'managed'}" in text
    assert text.endswith("\n    automm triton install")


def test_the_path_that_was_given_stands_above_all(nothing):
    with pytest.raises(ServerError, match="--server /no/such: there is no file"):
        locate("/no/such")


def test_an_environment_without_the_server_is_said(nothing):
    with pytest.raises(ServerError, match="nvidia-pytriton, which holds the server, is not"):
        locate(sys.executable)


def test_a_server_on_the_path_is_a_containers(nothing, monkeypatch):
    binary = make_server(nothing / "opt")
    (nothing / "path" / "python3").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", os.pathsep.join([str(nothing / "path"), str(binary.parent)]))
    monkeypatch.setenv("NVIDIA_TRITON_SERVER_VERSION", "26.07")
    parts = locate()
    assert parts.origin == "tritonserver on the PATH"
    assert parts.release == (26, 7)
    assert [backend.name for backend in parts.backends] == ["onnxruntime", "python"]
    monkeypatch.delenv("NVIDIA_TRITON_SERVER_VERSION")
    assert locate().release is None


def test_a_server_without_python_would_hang_and_is_refused(nothing):
    binary = make_server(nothing / "opt")
    with pytest.raises(ServerError, match="no python3 on the PATH"):
        locate(binary)


def test_a_python_that_does_not_run_is_said(tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho it is broken >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(ServerError, match="cannot be run: it is broken"):
        probe(broken)


def test_what_is_absent_is_listed():
    facts = probe(Path(sys.executable), ("numpy", "no_such_module"))
    assert facts.absent == ("no_such_module",)
    assert facts.version == f"{sys.version_info.major}.{sys.version_info.minor}"


def test_the_managed_environment_lies_in_the_users_cache(monkeypatch):
    monkeypatch.delenv("AUTOMM_TRITON_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert home() == Path("/somewhere/automm/triton")
    monkeypatch.setenv("AUTOMM_TRITON_HOME", "/elsewhere")
    assert home() == Path("/elsewhere")
