"""``automm evaluate``, on the frozen bundle."""

import msgspec
import pytest

from automm_serve.bundle import load
from automm_serve.table import read_table
from tests.automm.cli.answering import BUNDLE, ROWS, golden_rows, run, write_rows

pytest.importorskip("onnxruntime")


@pytest.fixture
def labelled(tmp_path):
    """The golden rows with their own answers for labels, but two: one is wrong, one missing."""
    answers = load(BUNDLE).predict(read_table(ROWS)).tolist()
    rows = [{**row, "kind": kind} for row, kind in zip(golden_rows(), answers, strict=True)]
    rows[0]["kind"] = "cat" if answers[0] != "cat" else "dog"
    rows[1]["kind"] = None
    return write_rows(tmp_path / "rows.jsonl", rows)


def test_what_is_reported_needs_no_name_and_rows_without_label_are_counted(labelled):
    result = run("evaluate", BUNDLE, labelled, "--json")
    assert result.exit_code == 0
    found = msgspec.json.decode(result.stdout)
    assert set(found["scores"]) == {"accuracy", "log_loss"}
    assert found["scores"]["accuracy"] == pytest.approx(10 / 11)
    assert "1 of 12 rows are left out" in found["warnings"][0]
    assert found["warnings"][0] in result.stderr


def test_metrics_are_chosen_and_shown_as_a_table(labelled):
    pytest.importorskip("sklearn")
    result = run("evaluate", BUNDLE, labelled, "--metric", "f1_macro", "--metric", "mcc")
    assert result.exit_code == 0
    assert "f1_macro" in result.stdout
    assert "mcc" in result.stdout
    assert "accuracy" not in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric", "acuracy"], "'accuracy' is near"),
        (["--metric", "rmse"], "'rmse' is no metric of multiclass"),
    ],
)
def test_a_metric_that_is_none_is_refused(labelled, words, message):
    result = run("evaluate", BUNDLE, labelled, *words)
    assert (result.exit_code, message in result.stderr) == (1, True)


def test_a_table_without_label_is_refused():
    result = run("evaluate", BUNDLE, ROWS)
    assert (result.exit_code, "label column 'kind' is absent" in result.stderr) == (1, True)
