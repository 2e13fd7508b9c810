"""Which rows and columns the teacher is asked about."""

import warnings

import numpy as np
import pytest

pytest.importorskip("torch")

from automm.data.rows import Rows
from automm.predictor import MultiModalPredictor
from automm.training.fit import FitWarning
from automm_serve.table import read_table
from automm_serve.tensors import take_rows
from tests.automm.teacher.teaching import fit
from tests.automm.training.running import TYPES, table


def test_the_teacher_may_read_columns_that_the_student_leaves_out(of_pets, lists, tmp_path):
    known, student = of_pets
    taught = fit(
        tmp_path / "p", lists, student, teacher_predictor=known.path,
        column_types={"title": None, "city": "categorical"},
    )  # fmt: skip
    assert "title" not in {c.name for c in taught.exportable().pipeline.schema.columns}
    rows = {name: table(6, 3)[name] for name in ("weight", "age", "city")}
    assert len(taught.predict(rows)) == 6


def test_each_row_has_the_answers_of_the_same_row_of_the_table(
    of_pets, lists, tmp_path, monkeypatch
):
    known, student = of_pets
    seen = []
    taught = Rows.taught

    def watched(self, teacher, unread=()):
        found = taught(self, teacher, unread)
        seen.append((found.table, found.batch(range(len(found))).teacher))
        return found

    monkeypatch.setattr(Rows, "taught", watched)
    fit(
        tmp_path / "p",
        lists,
        student,
        teacher_predictor=known,
        column_types=TYPES | {"title": None},
    )
    rows, said = seen[0]
    positions = [int(str(p)) for p in rows["\0position"]]
    whole = take_rows(read_table(lists), positions)
    assert len(positions) < 60
    np.testing.assert_allclose(
        said["logits"].softmax(dim=1).numpy(), known.predict_proba(whole), atol=1e-5
    )
    np.testing.assert_allclose(said["features"].numpy(), known.extract_embedding(whole), atol=1e-5)


def test_rows_that_the_teacher_cannot_read_are_left_out_and_counted(of_pets, tmp_path):
    known, student = of_pets
    data = table(60)
    data["age"][4] = float("inf")
    data["weight"][9] = "heavy"
    types = {"title": None, "city": "categorical", "age": "numerical", "weight": None}
    taught = fit(
        tmp_path / "p", data, student, teacher_predictor=known,
        tuning_data=table(20, 3), column_types=types,
    )  # fmt: skip
    summary = taught.fit_summary()
    assert summary["rows"]["train"] == 58
    assert [(c["row"], c["column"]) for c in summary["left_out"]["train"]] == [
        (4, "age"),
        (9, "weight"),
    ]


def test_an_optional_column_that_only_the_teacher_misses_is_told(of_pets, tmp_path):
    known, student = of_pets
    assert not next(
        c for c in known.exportable().pipeline.schema.columns if c.name == "title"
    ).required
    data = {name: cells for name, cells in table(60).items() if name != "title"}
    predictor = MultiModalPredictor(label="kind", path=tmp_path / "p", verbosity=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predictor.fit(
            data, hyperparameters=student | {"optim.max_epochs": 1}, teacher_predictor=known,
            column_types={"city": "categorical"},
        )  # fmt: skip
    said = [str(one.message) for one in caught if one.category is FitWarning]
    assert sum("the teacher: column 'title' is absent" in one for one in said) == 1
