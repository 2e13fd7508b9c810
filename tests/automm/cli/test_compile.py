"""``automm compile``: what it prints, and its exit codes."""

import shutil

import msgspec
import pytest

from automm_export.engines.compile import CompileReport
from automm_serve.verify import verify
from tests.automm.cli.answering import run
from tests.automm_export.tiny import export_tiny
from tests.needs import need_rtx

pytestmark = pytest.mark.rtx


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    need_rtx()
    return export_tiny(tmp_path_factory.mktemp("made") / "bundle")


@pytest.fixture
def bundle(made, tmp_path):
    return shutil.copytree(made, tmp_path / "bundle")


def test_it_says_what_was_built_where_it_runs_and_what_is_missing(bundle):
    result = run("compile", bundle, "--profiles", "2", "--capability", "8.6,12.0")
    assert result.exit_code == 0, result.output
    assert "predict: model.fp32.rtx" in result.stdout
    assert "RTX 30 and 50 cards (8.6, 12.0)" in result.stdout
    assert "not on H100, H200 or Jetson" in result.stdout
    assert "1 to 32 rows, 16 to 48 text tokens" in result.stdout
    assert "tensorrt_rtx --onnx=model.onnx" in result.stdout
    assert "its 12 golden rows answer as before" in result.stdout
    assert "missing: plans for target gpu_trt" in result.stderr
    assert "not executed" in result.stderr
    assert verify(bundle).ok


def test_json_is_the_report(bundle, tmp_path):
    result = run("compile", bundle, "--out", tmp_path / "other", "--json", "--max-batch", "4")
    assert result.exit_code == 0, result.output
    report = msgspec.json.decode(result.stdout, type=CompileReport)
    assert report.path == str(tmp_path / "other")
    assert report.engines[0].profiles[0].axes["batch"] == (1, 4, 4)
    assert verify(bundle).ok


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--capability", "9.0"), "H100 and H200"),
        (("--precision", "fp16"), "no graph of it for engines"),
        (("--precision", "fp17"), "but there is 'fp16'"),
        (("--min-batch", "5", "--max-batch", "4"), "5 is above --max-batch, which is 4"),
        (("--max-length", "16"), "would refuse some of them"),
        (("--target", "triton:1.1"), "triton:1.1"),
    ],
)
def test_what_cannot_be_is_refused_with_exit_1(bundle, options, what):
    result = run("compile", bundle, *options)
    assert result.exit_code == 1
    assert what in result.stderr


def test_a_wrong_builder_is_a_usage_error(bundle):
    assert run("compile", bundle, "--builder", "trt").exit_code == 2
