"""The group: its help, its exit codes, and that each command is where it says."""

import os
import sys
from importlib import import_module
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from automm.cli.main import COMMANDS, SUMMARIES, main
from automm_serve.errors import ConfigError
from tests.automm.cli.answering import run


def test_the_help_names_every_command():
    assert list(COMMANDS) == list(SUMMARIES)
    shown = run("--help").output
    for name, summary in SUMMARIES.items():
        assert f"{name} " in shown
        assert summary in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_with_an_example(name):
    assert isinstance(import_module(COMMANDS[name]).command, click.Command)
    shown = run(name, "--help")
    assert shown.exit_code == 0
    assert "Example" in shown.output
    assert f"automm {name}" in shown.output


def a_command(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    @click.command()
    def command() -> None:
        raise error

    module = ModuleType("a_command")
    vars(module)["command"] = command
    monkeypatch.setitem(sys.modules, "a_command", module)
    monkeypatch.setitem(COMMANDS, "doctor", "a_command")


def test_our_errors_are_a_message_without_traceback_and_exit_1(monkeypatch):
    a_command(monkeypatch, ConfigError(where="here", what="it is so", mend="Mend it"))
    result = run("doctor")
    assert (result.exit_code, result.output) == (1, "Error: here: it is so. Mend it.\n")


def test_a_bug_keeps_its_traceback(monkeypatch):
    a_command(monkeypatch, ZeroDivisionError("a bug"))
    assert isinstance(CliRunner().invoke(main, ["doctor"]).exception, ZeroDivisionError)


def test_a_wrong_question_exits_2():
    for words in (["nope"], ["predict"], ["info", "x", "--nope"]):
        assert run(*words).exit_code == 2


def test_the_version_is_that_of_the_distribution():
    assert "automm, version " in run("--version").output


def test_the_pool_of_the_tokenizer_keeps_to_the_budget(monkeypatch):
    monkeypatch.setenv("AUTOMM_THREADS", "3")
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    run("doctor", "--help")
    assert os.environ["RAYON_NUM_THREADS"] == "1"  # who set it has the last word
    monkeypatch.delenv("RAYON_NUM_THREADS")
    run("doctor", "--help")
    assert os.environ["RAYON_NUM_THREADS"] == "3"


def test_a_budget_that_is_none_is_a_message(monkeypatch):
    monkeypatch.setenv("AUTOMM_THREADS", "many")
    monkeypatch.delenv("RAYON_NUM_THREADS", raising=False)
    assert "AUTOMM_THREADS" in run("doctor").output
