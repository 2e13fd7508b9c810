import json

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

from automm.cli.main import main
from tests.pets import pets


@pytest.fixture
def rows(tmp_path):
    table = {name: pets()[name] for name in ("weight", "age", "city", "kind")}
    lines = [
        json.dumps(dict(zip(table, row, strict=True))) for row in zip(*table.values(), strict=True)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines))
    return path


def run(*arguments):
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


def test_a_table_is_trained_and_saved(rows, tmp_path):
    found = run(
        rows, "--label", "kind", "--out", tmp_path / "p", "--set", "optim.max_epochs=8",
        "-o", "optim.lr=1e-3", "--column-type", "city=categorical", "--json",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    assert report["summary"]["beats_trivial"]
    assert (tmp_path / "p" / "predictor.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--label", "knid"], 1, "'kind'"),
        (["--label", "kind", "--set", "optim.lrr=1"], 1, "'optim.lr'"),
        (["--label", "kind", "--preset", "egde"], 1, "'edge'"),
        (["--label", "kind", "--column-type", "city"], 2, "COL=KIND"),
        (["--label", "kind", "--seed", "-1"], 1, "seed: -1"),
        (["--label", "kind", "--tuning-data", "EMPTY"], 1, "tuning_data: it has no rows"),
        ([], 2, "--label"),
    ],
)
def test_a_mistake_is_told_without_a_traceback(rows, tmp_path, arguments, code, says):
    (tmp_path / "empty.csv").write_text("weight,age,city,kind\n")
    named = [tmp_path / "empty.csv" if word == "EMPTY" else word for word in arguments]
    found = run(rows, "--out", tmp_path / "p", *named)
    assert found.exit_code == code
    assert says in found.output
    assert "Traceback" not in found.output
    assert not (tmp_path / "p").exists()


def test_a_table_without_rows_is_told_as_such(tmp_path):
    (tmp_path / "empty.csv").write_text("weight,kind\n")
    found = run(tmp_path / "empty.csv", "--label", "kind", "--out", tmp_path / "p")
    assert (found.exit_code, "training data: it has no rows" in found.output) == (1, True)


def test_a_place_that_cannot_be_is_refused_before_training(rows):
    found = run(rows, "--label", "kind", "--out", rows / "p")
    assert found.exit_code == 1
    assert "rows.jsonl is not a folder" in found.output


def test_a_device_that_is_not_there_is_told_without_a_traceback(rows, tmp_path):
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("there is a GPU here")
    found = run(rows, "--label", "kind", "--out", tmp_path / "p", "--device", "gpu")
    assert found.exit_code == 1
    assert "there is no GPU" in found.output


def test_help_shows_an_example():
    assert "automm train rows.csv --label price" in run("--help").output
