"""Rows that a trained predictor keeps to measure precisions on."""

import shutil
import warnings

import msgspec
import pytest

pytest.importorskip("torch")

from automm.data import samples
from automm.data.samples import tuning_rows
from automm.predictor import MultiModalPredictor
from automm.training.fit import FitWarning
from automm_export.exportable import ExportOptions, prepare
from automm_serve.errors import SchemaError
from automm_serve.schema import Column, Schema
from automm_serve.tensors import Table, count_rows
from tests.pets import pets

NAMES = ("weight", "age", "city", "kind")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    table = pets(120)
    folder = tmp_path_factory.mktemp("tuning") / "predictor"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return MultiModalPredictor(label="kind", path=folder, verbosity=0).fit(
            {**{name: table[name] for name in NAMES}, "age": [float(i) for i in range(120)]},
            column_types={"city": "categorical", "age": "numerical"},
            hyperparameters={"optim.max_epochs": 1, "model.ft_transformer.token_dim": 8},
        )


def test_they_have_their_label_and_are_no_calibration_rows(predictor):
    part = predictor.exportable()
    assert set(part.tuning["kind"]) <= set(predictor.class_labels)
    assert count_rows(part.tuning) == predictor.fit_summary()["rows"]["valid"]
    assert not set(part.tuning["age"]) & set(part.calibration["age"])  # an age is one row
    assert part.metric == "accuracy"


def test_they_are_saved_and_loaded_and_an_older_folder_has_none(predictor, tmp_path):
    loaded = MultiModalPredictor.load(predictor.path).exportable().tuning
    assert loaded == predictor.exportable().tuning
    old = shutil.copytree(predictor.path, tmp_path / "old")
    record = msgspec.json.decode((old / "predictor.json").read_bytes())
    (old / "predictor.json").write_bytes(msgspec.json.encode({**record, "format": 1}))
    (old / "rows" / "tuning.jsonl").unlink()
    assert MultiModalPredictor.load(old).exportable().tuning is None


def test_rows_of_large_pictures_are_halved_until_they_fit(monkeypatch):
    table: Table = {"photo": pets(9)["photo"], "kind": list("abcabcabc")}
    schema = Schema((Column("photo", "image"),))
    whole = tuning_rows(table, schema, "kind")
    assert count_rows(whole) == 9
    monkeypatch.setattr(samples, "TUNING_BYTES", 400)
    fewer = tuning_rows(table, schema, "kind")
    assert count_rows(fewer) < 9
    assert len(fewer["photo"]) == len(fewer["kind"])
    assert fewer["kind"][0] == "a"
    cells = [cell for cell in fewer["photo"] if isinstance(cell, list)]
    sizes = [len(picture) for cell in cells for picture in cell]
    assert sum(sizes) <= 400 or count_rows(fewer) == 1


def test_tuning_rows_without_label_or_columns_are_refused_before_any_work(predictor):
    part = predictor.exportable()
    rows = part.tuning or {}
    for lacking, says in [("kind", "no label column 'kind'"), ("age", "'age' is absent")]:
        table = {name: cells for name, cells in rows.items() if name != lacking}
        with pytest.raises(SchemaError, match=says):
            prepare(part, ExportOptions(tuning=table))
    assert count_rows(prepare(part, ExportOptions()).tuning or {}) == count_rows(rows) > 0
