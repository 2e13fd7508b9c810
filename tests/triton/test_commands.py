"""`automm serve` as a user runs it: its output, its signals, its exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from automm.cli.main import main
from automm_export.export import ExportOptions
from automm_serve.triton.client import Client
from tests.automm_export.tiny import export_tiny, rows

pytestmark = pytest.mark.triton
FREE = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]


def start(bundle: Path, log: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "automm.cli.main", "serve", str(bundle), *FREE, "--json"]
    with log.open("w") as stderr:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_prints_the_addresses_and_stops_in_order(parts, bundles, tmp_path, number):
    process = start(bundles[0], tmp_path / "stderr")
    assert process.stdout is not None
    facts = json.loads(process.stdout.readline())
    with Client(facts["http"]) as client:
        assert client.target == facts["target"] == "cpu"
        assert facts["precision"] == "fp32"
        assert len(client.predict(rows(3))) == 3
    process.send_signal(number)
    assert process.wait(30) == 0
    said = (tmp_path / "stderr").read_text()
    assert said.endswith("stopping\n")
    assert "Traceback" not in said


def test_a_bundle_that_was_exported_anew_is_taken_by_sighup(parts, tmp_path):
    bundle = export_tiny(tmp_path / "bundle")
    process = start(bundle, tmp_path / "stderr")
    assert process.stdout is not None
    facts = json.loads(process.stdout.readline())
    try:
        with Client(facts["grpc"]) as client:
            before = client.facts.bundle
            export_tiny(bundle, 1, options=ExportOptions(replace=True))
            assert client.predict_proba(rows(3)) is not None
            os.kill(process.pid, signal.SIGHUP)
            deadline = time.monotonic() + 30
            while client.facts.bundle == before and time.monotonic() < deadline:
                client.predict(rows(3))
                time.sleep(0.05)
            assert client.facts.bundle != before
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert "was read anew" in (tmp_path / "stderr").read_text()


def test_what_cannot_be_served_is_one_message_and_exit_code_1(parts, tmp_path):
    found = CliRunner().invoke(main, ["serve", str(tmp_path)])
    assert found.exit_code == 1
    assert "there is no bundle.json, so this is no bundle" in found.stderr
    assert "Traceback" not in found.stderr


def test_an_engine_that_was_not_built_is_told_with_the_command_before_anything_starts(tmp_path):
    bundle = export_tiny(tmp_path / "bundle", options=ExportOptions(targets=("cpu", "gpu_trt")))
    found = CliRunner().invoke(main, ["serve", str(bundle), "--target", "gpu_trt", *FREE])
    assert found.exit_code == 1
    assert "has no engine of tensorrt in fp32" in found.stderr
    assert found.stderr.endswith(f"    automm compile {bundle}\n")


def test_where_says_which_server_would_be_started(parts):
    found = CliRunner().invoke(main, ["triton", "where", "--json"])
    assert json.loads(found.stdout)["server"] == str(parts.binary)
    assert "backends" in CliRunner().invoke(main, ["triton", "where"]).stdout


@pytest.mark.parametrize("command", [["serve"], ["triton"], ["triton", "install"]])
def test_help_has_an_example(command):
    assert "Example:" in CliRunner().invoke(main, [*command, "--help"]).stdout
