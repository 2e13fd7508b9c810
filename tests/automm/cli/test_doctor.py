"""``automm doctor`` and what it looks at."""

import msgspec
import pytest

from automm.report import machine
from tests.automm.cli.answering import run


@pytest.fixture
def no_server(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOMM_TRITON_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))


def test_what_is_missing_has_the_command_that_adds_it(monkeypatch, no_server):
    monkeypatch.setattr(machine, "_version", {"numpy": "2.0", "automm-edge": "0.1"}.get)
    parts = {part.name: part for part in machine.describe_machine().parts}
    assert parts["base"].has["numpy"] == "2.0"
    assert parts["cpu"].has == {"onnxruntime": None}
    assert parts["cpu"].command == "pip install 'automm-edge[cpu]'"
    assert set(parts["train"].has) >= {"torch", "timm", "transformers"}
    assert parts["triton"].command == "automm triton install"


def test_the_two_runtimes_do_not_go_together(monkeypatch, no_server):
    both = {"onnxruntime": "1.2", "onnxruntime-gpu": "1.2"}
    monkeypatch.setattr(machine, "_version", both.get)
    assert "[cpu] and [gpu]" in machine.describe_machine().problems[0]
    assert "problem: onnxruntime and" in run("doctor").stderr


def test_it_prints_a_table_or_json(no_server):
    shown = run("doctor")
    assert shown.exit_code == 0
    assert "automm triton install" in shown.stdout
    found = msgspec.json.decode(run("doctor", "--json").stdout)
    assert {part["name"] for part in found["parts"]} >= {"base", *machine.EXTRAS, "triton"}
    assert found["threads"] >= 1
