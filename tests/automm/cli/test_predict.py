"""``automm predict``, on the frozen bundle."""

import msgspec
import numpy as np
import pytest

from automm_serve.bundle import load
from automm_serve.gpu import Gpu
from automm_serve.table import read_table
from tests.automm.cli.answering import BUNDLE, ROWS, golden_rows, read_csv, run, write_rows

pytest.importorskip("onnxruntime")


@pytest.fixture
def spoilt(tmp_path):
    """The golden rows, with a picture in row 2 that is none."""
    rows = golden_rows()
    rows[2]["front"] = "bm8gcGljdHVyZQ=="
    return write_rows(tmp_path / "rows.jsonl", rows)


def test_every_row_gets_the_answer_of_the_predictor():
    result = run("predict", BUNDLE, ROWS)
    assert (result.exit_code, result.stderr) == (0, "")
    expected = load(BUNDLE).predict(read_table(ROWS)).tolist()
    assert [row["kind"] for row in read_csv(result.stdout)] == expected


def test_probabilities_have_a_column_a_class(tmp_path):
    out = tmp_path / "answers.jsonl"
    assert run("predict", BUNDLE, ROWS, "--proba", "--out", out).exit_code == 0
    records = [msgspec.json.decode(line) for line in out.read_bytes().splitlines()]
    found = [[row[f"probability_{name}"] for name in ("cat", "dog", "mouse")] for row in records]
    expected = load(BUNDLE).predict_proba(read_table(ROWS))
    assert np.array_equal(np.array(found, np.float32), expected)
    assert list(tmp_path.iterdir()) == [out]  # nothing half written is left


def test_another_program_is_answered():
    result = run("predict", BUNDLE, ROWS, "--program", "embed")
    expected = load(BUNDLE).extract_embedding(read_table(ROWS))
    found = [[float(cell) for cell in row.values()] for row in read_csv(result.stdout)]
    assert np.array_equal(np.array(found, np.float32), expected)


def test_a_row_that_fails_has_an_error_and_its_neighbours_an_answer(spoilt):
    result = run("predict", BUNDLE, spoilt)
    assert result.exit_code == 0
    assert "1 of 12 rows have no answer" in result.stderr
    found = read_csv(result.stdout)
    good = read_csv(run("predict", BUNDLE, ROWS).stdout)
    assert found[2]["kind"] == ""
    assert found[2]["error"].startswith("front: not a picture")
    for row in (0, 1, *range(3, 12)):
        assert found[row] == {**good[row], "error": ""}


def test_no_answer_at_all_is_exit_1_after_the_errors_are_written(tmp_path, spoilt):
    rows = [msgspec.json.decode(spoilt.read_bytes().splitlines()[2])] * 2
    data, out = write_rows(tmp_path / "bad.jsonl", rows), tmp_path / "out.csv"
    result = run("predict", BUNDLE, data, "--out", out)
    assert result.exit_code == 1
    assert "none of 2 rows could be answered; row 0, column 'front'" in result.stderr
    assert len(read_csv(out.read_text())) == 2


def test_columns_are_kept_and_the_label_of_the_data_is_not_overwritten(tmp_path):
    rows = [{**row, "kind": "truth"} for row in golden_rows()]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    found = read_csv(run("predict", BUNDLE, data, "--keep-columns").stdout)
    assert found[0]["title"] == rows[0]["title"]
    assert [row["kind"] for row in found] == ["truth"] * 12
    assert {row["kind_predicted"] for row in found} <= {"cat", "dog", "mouse"}


def test_many_rows_are_answered_block_by_block_alike(tmp_path, monkeypatch):
    from automm.report import answers

    whole = run("predict", BUNDLE, ROWS, "--proba").stdout
    monkeypatch.setattr(answers, "BLOCK", 5)
    blocks = read_csv(run("predict", BUNDLE, ROWS, "--proba").stdout)
    for row, block in zip(read_csv(whole), blocks, strict=True):
        assert row.keys() == block.keys()
        for name in ("probability_cat", "probability_dog", "probability_mouse"):
            assert float(row[name]) == pytest.approx(float(block[name]), abs=1e-6)


def test_an_error_names_its_row_in_the_table_not_in_its_block(monkeypatch, spoilt):
    from automm.report import answers

    monkeypatch.setattr(answers, "BLOCK", 2)
    found = read_csv(run("predict", BUNDLE, spoilt).stdout)
    assert [row for row, record in enumerate(found) if record["error"]] == [2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", ROWS], "nowhere: there is no such folder"),
        ([BUNDLE, "nowhere.csv"], "nowhere.csv: there is no such file"),
        ([BUNDLE, ROWS, "--program", "predikt"], "program 'predikt'"),
        ([BUNDLE, ROWS, "--program", "embed", "--proba"], "answers without probabilities"),
        ([BUNDLE, ROWS, "--out", "answers.xls"], ".xls is no format of answers"),
        ([BUNDLE, ROWS, "--out", "no/such/folder/a.csv"], "it cannot be written"),
        ([ROWS, ROWS], "it is a file"),
    ],
)
def test_a_mistake_is_one_clear_line(words, message):
    result = run("predict", *words)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output


def test_a_table_without_rows_is_refused(tmp_path):
    (tmp_path / "empty.csv").write_text("title,body\n")
    result = run("predict", BUNDLE, tmp_path / "empty.csv")
    assert (result.exit_code, "it has no rows" in result.stderr) == (1, True)


def test_a_kept_cell_that_is_not_utf_8_does_not_end_the_output(tmp_path):
    data = tmp_path / "rows.csv"
    data.write_bytes(b"title,note\na mat,caf\xe9\n")
    for form in ("csv", "jsonl"):
        result = run("predict", BUNDLE, data, "--keep-columns", "--format", form)
        assert result.exit_code == 0
        assert "caf\N{REPLACEMENT CHARACTER}" in result.stdout


def test_a_device_that_is_not_here_is_one_message_and_exit_1():
    result = run("predict", BUNDLE, ROWS, "--device", "tensorrt_rtx")
    assert result.exit_code == 1
    assert "device 'tensorrt_rtx'" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_device_and_precision_asked_for_answer():
    asked = run("predict", BUNDLE, ROWS, "--device", "cpu", "--precision", "fp32")
    assert asked.stdout == run("predict", BUNDLE, ROWS).stdout


@pytest.mark.parametrize(("precision", "said"), [("fp8", "no such precision"),
                                                ("int8", "has fp32 alone")])  # fmt: skip
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_precision_that_is_not_there_is_refused(command, precision, said):
    result = run(command, BUNDLE, ROWS, "--precision", precision)
    assert result.exit_code == 1
    assert said in result.stderr


def test_a_gpu_that_is_not_used_is_a_note(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOMM_CACHE", str(tmp_path))
    monkeypatch.setattr("automm_serve.devices.find_gpus", lambda: (Gpu("A Card", "8.6", 2**33),))
    result = run("predict", BUNDLE, ROWS)
    assert result.exit_code == 0
    assert result.stderr.startswith("note: A Card is here, and the bundle runs on 'cpu'")
    assert len(result.stderr.splitlines()) == 1
