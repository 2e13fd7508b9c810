"""``automm export`` from a trained predictor, and what it refuses."""

import sys
from pathlib import Path

import msgspec
import pytest

from automm import MultiModalPredictor
from automm_export.export import Report
from automm_serve.bundle import Bundle
from automm_serve.verify import verify
from tests.automm.cli.answering import run
from tests.needs import need_rtx

COLOURS = ("red", "blue", None)


def records(count: int) -> list[dict[str, object]]:
    """Rows whose class follows from the number."""
    return [
        {"age": i % 60, "colour": COLOURS[i % 3], "kind": "old" if i % 60 > 30 else "new"}
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "predictor"
    trained = MultiModalPredictor(label="kind", verbosity=0)
    trained.fit(records(80), hyperparameters={"optim.max_epochs": 1})
    trained.save(str(path))
    return path


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return path


def test_a_predictor_becomes_a_bundle_and_the_report_says_how_near_it_is(predictor, tmp_path):
    check = write(tmp_path / "test.jsonl", records(50))
    result = run(
        "export", predictor, "--out", tmp_path / "bundle", "--name", "demo", "--check", check,
        "--optional", "age", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = msgspec.json.decode(result.stdout, type=Report)
    assert {c.rows for c in report.parity.columns} == {50, *_golden(tmp_path / "bundle")}
    assert all(c.holds for c in report.parity.columns)
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest.name == "demo"
    assert not any(column.required for column in bundle.pipeline.schema.columns)
    assert bundle.manifest.metrics
    assert verify(tmp_path / "bundle").ok


def test_the_report_for_people_names_figures_and_what_was_not_compared(predictor, tmp_path):
    golden = write(tmp_path / "golden.jsonl", records(40))
    result = run("export", predictor, "--out", tmp_path / "bundle", "--golden", golden)
    assert result.exit_code == 0, result.output
    assert "onnxruntime, predict" in result.stdout
    assert "32 rows" in result.stdout
    assert "not compared with torch: triton: not run" in result.stderr
    again = run("export", predictor, "--out", tmp_path / "bundle")
    assert again.exit_code == 1
    assert "not empty" in again.stderr


@pytest.mark.rtx
def test_trt_builds_what_can_be_and_says_the_rest(predictor, tmp_path):
    need_rtx()
    result = run("export", predictor, "--out", tmp_path / "bundle", "--trt", "--max-batch", "16")
    assert result.exit_code == 0, result.output
    assert "predict: model.fp32.rtx" in result.stdout
    assert "RTX 30, 40 and 50 cards (8.6, 8.9, 12.0)" in result.stdout
    assert "1 to 16 rows" in result.stdout
    assert "not on H100, H200 or Jetson" in result.stdout
    assert "missing: plans for target gpu_trt" in result.stderr
    assert "built, and not executed" in result.stderr
    assert verify(tmp_path / "bundle").ok


def test_trt_without_a_builder_is_a_bundle_and_a_line_and_an_error_only_where_required(
    predictor, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    result = run("export", predictor, "--out", tmp_path / "bundle", "--trt")
    assert result.exit_code == 0, result.output
    assert "pip install 'automm-edge[tensorrt-rtx]'" in result.stderr
    assert {"gpu_trt", "gpu_rtx"} <= set(Bundle.open(tmp_path / "bundle").manifest.targets)
    refused = run("export", predictor, "--out", tmp_path / "no", "--trt", "--require-engine")
    assert refused.exit_code == 1
    assert "no engine can be built here" in refused.stderr
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    "option", [("--max-batch", "4"), ("--capability", "8.6"), ("--require-engine",)]
)
def test_an_option_of_engines_without_trt_is_no_silent_nothing(tmp_path, option):
    result = run("export", tmp_path, "--out", tmp_path / "bundle", *option)
    assert result.exit_code == 2
    assert f"{option[0]} says how engines are built; pass --trt" in result.stderr


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--precision", "fp17"), "but there is 'fp16'"),
        (("--default-precision", "int4"), "int8"),
        (("--target", "gpu_trd"), "but there is 'gpu_trt'"),
        (("--trt", "--capability", "9.0"), "H100 and H200"),
        (("--trt", "--min-batch", "5", "--max-batch", "4"), "--min-batch: 5 is above"),
        (("--trt", "--target", "triton:1.1"), "triton:1.1"),
    ],
)
def test_an_unknown_name_is_refused_and_the_known_ones_are_named(
    predictor, tmp_path, options, what
):
    result = run("export", predictor, "--out", tmp_path / "bundle", *options)
    assert result.exit_code == 1
    assert what in result.stderr
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("flag", ["--check", "--golden"])
def test_rows_that_are_not_there_are_named(predictor, tmp_path, flag):
    absent = tmp_path / "absent.csv"
    result = run("export", predictor, "--out", tmp_path / "bundle", flag, absent)
    assert result.exit_code == 1
    assert "absent.csv" in result.stderr


def _golden(path: Path) -> list[int]:
    golden = Bundle.open(path).manifest.golden
    return [golden.count] if golden else []
