"""``automm export`` from a trained predictor, and what it refuses."""

from pathlib import Path

import msgspec
import pytest

from automm import MultiModalPredictor
from automm_export.export import Report
from automm_serve.bundle import Bundle
from automm_serve.verify import verify
from tests.automm.cli.answering import run

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


def test_trt_is_asked_wrongly_and_never_a_silent_nothing(tmp_path):
    result = run("export", tmp_path, "--out", tmp_path / "bundle", "--trt")
    assert result.exit_code == 2
    assert "GPU targets come with the TensorRT step" in result.stderr


@pytest.mark.parametrize("flag", ["--check", "--golden"])
def test_rows_that_are_not_there_are_named(predictor, tmp_path, flag):
    absent = tmp_path / "absent.csv"
    result = run("export", predictor, "--out", tmp_path / "bundle", flag, absent)
    assert result.exit_code == 1
    assert "absent.csv" in result.stderr


def _golden(path: Path) -> list[int]:
    golden = Bundle.open(path).manifest.golden
    return [golden.count] if golden else []
