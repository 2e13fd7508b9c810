"""``automm info`` on tables and on what is saved."""

import shutil
import sys

import msgspec
import pytest

from tests.automm.cli.answering import BUNDLE, run


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    lines = [f"{row}.5,{'red' if row % 3 else 'blue'},id{row},{row % 2}" for row in range(90)]
    path.write_text("\n".join(["price,[colour],key,sold", *lines]) + "\n")
    return path


def test_a_table_is_told_column_by_column_with_the_reason(rows):
    result = run("info", rows, "--label", "sold")
    assert result.exit_code == 0
    for words in ("90 rows", "price", "number", "[colour]", "category", "few values", "binary"):
        assert words in result.stdout
    assert "note: column 'key'" in result.stderr


def test_a_table_is_told_as_json(rows):
    found = msgspec.json.decode(run("info", rows, "--json").stdout)
    kinds = {reason["name"]: reason["kind"] for reason in found["reasons"]}
    assert kinds == {"price": "number", "[colour]": "category", "key": "text", "sold": "number"}
    assert found["problem_type"] is None


def test_a_bundle_is_told_without_its_graphs_being_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = run("info", BUNDLE)
    assert result.exit_code == 0
    for words in ("tiny", "multiclass", "front", "cat, dog, mouse", "image_pixels", "model.onnx"):
        assert words in result.stdout


def test_a_bundle_is_told_as_json():
    found = msgspec.json.decode(run("info", BUNDLE, "--json").stdout)
    assert (found["what"], found["name"]) == ("bundle", "tiny")
    assert found["classes"] == ["cat", "dog", "mouse"]
    assert found["files"]["golden/rows.jsonl"] > 1000
    assert [one["name"] for one in found["programs"]["predict"]] == ["kind", "probabilities"]


def test_a_predictor_is_told_without_torch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    shutil.copy(BUNDLE / "model_repository" / "tiny" / "1" / "pipeline.json", tmp_path)
    reason = {"name": "age", "kind": "number", "rule": "numbers", "reason": "all are numbers"}
    record: dict[str, object] = {
        "label": "kind",
        "made_by": "0.1.0",
        "summary": {"scores": {"accuracy": 0.75}},
    }
    record["reasons"] = [reason]
    (tmp_path / "predictor.json").write_bytes(msgspec.json.encode(record))
    found = msgspec.json.decode(run("info", tmp_path, "--json").stdout)
    assert (found["what"], found["problem_type"]) == ("predictor", "multiclass")
    assert found["metrics"] == {"accuracy": 0.75}
    assert found["facts"]["label"] == "kind"
    assert found["reasons"] == {"age": "number; numbers: all are numbers"}
    assert "all are numbers" in run("info", tmp_path).stdout
    assert "accuracy: 0.7500" in run("info", tmp_path).stdout


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.csv", "there is no such file"),
        (".", "neither a predictor nor a bundle"),
        ("rows.doc", ".doc is not a kind of table"),
    ],
)
def test_what_is_neither_is_refused(tmp_path, monkeypatch, path, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.doc").touch()
    result = run("info", path)
    assert (result.exit_code, message in result.stderr) == (1, True)


def test_a_predictor_that_is_damaged_is_named(tmp_path):
    (tmp_path / "predictor.json").write_text('{"label":')
    result = run("info", tmp_path)
    assert result.exit_code == 1
    assert "predictor.json: it is damaged" in result.stderr
