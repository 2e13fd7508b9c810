from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.errors import ConfigError, DataError, MissingDependencyError, SchemaError
from automm_serve.predicts import Predictions, Predicts, RowWarning
from automm_serve.tensors import Table
from tests.automm_serve.samples import encode, pixels, predictor, table

NUMBERS = ValuesAnswer("worth", 0.0, 1.0)


def spoilt(rows: int = 6, bad: tuple[int, ...] = (1, 4)) -> dict[str, list[object]]:
    data = table(rows)
    data["price"] = ["x" if row in bad else price for row, price in enumerate(data["price"])]
    return data


def truth(data: Table, answer: AnyAnswer | None = None) -> list[object]:
    """The sample's own answers, as labels."""
    found = predictor(answer).run(data)
    return list(next(iter(found.columns.values())))


def test_classes_are_an_array_of_names_in_the_order_of_the_rows():
    data = table(20)
    found = predictor().predict(data)
    assert found.tolist() == truth(data)
    assert set(found) == {"no", "yes"}


def test_probabilities_are_float32_in_the_order_of_the_classes():
    model = predictor()
    found = model.predict_proba(table(20))
    assert found.dtype == np.float32
    assert found.shape == (20, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert model.class_labels == ["no", "yes"]
    names = np.array(model.class_labels)[found.argmax(axis=1)]
    assert names.tolist() == model.predict(table(20)).tolist()
    np.testing.assert_array_equal(model.predict_proba(table(20), as_multiclass=False), found[:, 1])


def test_numbers_are_floats_and_have_no_probabilities():
    model = predictor(NUMBERS)
    assert model.predict(table(5)).dtype == np.float64
    assert model.class_labels is None
    with pytest.raises(DataError, match="predicts numbers for 'worth'"):
        model.predict_proba(table(5))


def test_features_are_float32_one_row_each():
    found = predictor().extract_embedding(table(5))
    assert found.dtype == np.float32
    assert found.shape == (5, 6)


def test_a_row_that_failed_is_a_gap_and_one_warning_has_the_count():
    model = predictor()
    expected = model.predict(table(6))
    with pytest.warns(RowWarning, match="2 of 6 rows have no answer, first row 1, column 'price'"):
        found = model.predict(spoilt())
    assert [row for row, cell in enumerate(found) if cell is None] == [1, 4]
    assert found[[0, 2, 3, 5]].tolist() == expected[[0, 2, 3, 5]].tolist()
    with pytest.warns(RowWarning, match="2 of 6"):
        proba = model.predict_proba(spoilt())
    assert np.flatnonzero(np.isnan(proba).all(axis=1)).tolist() == [1, 4]
    with pytest.warns(RowWarning, match="2 of 6"):
        vectors = model.extract_embedding(spoilt())
    assert np.flatnonzero(np.isnan(vectors).all(axis=1)).tolist() == [1, 4]
    with pytest.warns(RowWarning, match="2 of 6"):
        numbers = predictor(NUMBERS).predict(spoilt())
    assert np.flatnonzero(np.isnan(numbers)).tolist() == [1, 4]


@pytest.mark.parametrize("call", ["predict", "predict_proba", "extract_embedding"])
def test_errors_are_returned_instead_of_a_warning_where_they_are_asked_for(call):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, errors = getattr(predictor(), call)(spoilt(), return_errors=True)
    assert len(found) == 6
    assert [(error.row, error.column) for error in errors] == [(1, "price"), (4, "price")]


def test_the_warning_points_at_the_line_that_asked():
    with pytest.warns(RowWarning) as caught:
        predictor().predict(spoilt())
    assert caught[0].filename == __file__


def test_an_absent_column_is_warned_of_through_every_call():
    data = table(3)
    del data["body"]
    for call in ("predict", "predict_proba", "extract_embedding"):
        with pytest.warns(RowWarning, match="column 'body' is absent"):
            getattr(predictor(), call)(data)


def test_no_rows_have_empty_answers():
    data = table(0)
    assert len(predictor().predict(data)) == 0
    assert predictor().predict_proba(data).shape == (0, 2)
    assert predictor().extract_embedding(data).shape == (0, 6)


def test_where_all_rows_failed_all_answers_are_gaps():
    found, errors = predictor().predict(spoilt(3, bad=(0, 1, 2)), return_errors=True)
    assert len(errors) == 3
    assert all(cell is None or cell != cell for cell in found)


@pytest.mark.parametrize("classes", [(False, True), (3, 7), (0.5, 2.5), ("no", "yes")])
def test_classes_keep_their_types_and_a_failed_row_is_still_told_apart(classes):
    model = predictor(ClassesAnswer("label", classes))
    whole = model.predict(table(20))
    assert set(whole.tolist()) == set(classes)
    data = table(20)
    data["price"] = [*data["price"][:-1], "x"]
    found, errors = model.predict(data, return_errors=True)
    assert len(errors) == 1
    assert found[:-1].tolist() == whole[:-1].tolist()
    assert found[-1] is None or found[-1] != found[-1]


def test_one_record_is_a_table():
    data = table(1)
    record = {name: cells[0] for name, cells in data.items()}
    assert predictor().predict([record]).tolist() == predictor().predict(data).tolist()


def test_picture_paths_start_from_the_image_root(tmp_path):
    content = encode(pixels(9))
    (tmp_path / "a.png").write_bytes(content)
    data = table(2)
    model = predictor()
    named = model.extract_embedding({**data, "picture": ["a.png"] * 2}, image_root=tmp_path)
    sent = model.extract_embedding({**data, "picture": [content] * 2})
    np.testing.assert_array_equal(named, sent)


def test_what_is_no_table_is_refused():
    with pytest.raises(DataError, match="is not a table"):
        predictor().predict(3)


# -- pandas --------------------------------------------------------------------------------------


def test_a_frame_gets_series_and_frames_with_its_own_index():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(table(5), index=list("vwxyz"))
    model = predictor()
    labels, proba = model.predict(frame), model.predict_proba(frame)
    assert labels.name == "label"
    assert labels.index.tolist() == proba.index.tolist() == list("vwxyz")
    assert proba.columns.tolist() == ["no", "yes"]
    assert labels.tolist() == model.predict(table(5)).tolist()
    np.testing.assert_array_equal(proba.to_numpy(), model.predict_proba(table(5)))
    second = model.predict_proba(frame, as_multiclass=False)
    assert second.name == "yes"
    assert second.tolist() == proba["yes"].tolist()
    vectors = model.extract_embedding(frame, as_pandas=True)
    assert vectors.index.tolist() == list("vwxyz")
    assert isinstance(model.extract_embedding(frame), np.ndarray)


def test_a_frame_gets_arrays_where_they_are_asked_for_and_a_table_gets_pandas():
    pandas = pytest.importorskip("pandas")
    model = predictor()
    assert isinstance(model.predict(pandas.DataFrame(table(2)), as_pandas=False), np.ndarray)
    assert isinstance(model.predict(table(2), as_pandas=True), pandas.Series)
    assert isinstance(model.predict_proba(table(2), as_pandas=True), pandas.DataFrame)


def test_a_failed_row_of_a_frame_is_a_missing_value_of_pandas():
    pandas = pytest.importorskip("pandas")
    found, _ = predictor().predict(pandas.DataFrame(spoilt()), return_errors=True)
    assert found.isna().tolist() == [False, True, False, False, True, False]


def test_without_pandas_tables_are_answered_and_asking_for_it_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert isinstance(predictor().predict(table(2)), np.ndarray)
    with pytest.raises(MissingDependencyError, match=r"as_pandas=True[\s\S]*\[train\]"):
        predictor().predict(table(2), as_pandas=True)


# -- evaluate ------------------------------------------------------------------------------------


def test_a_model_that_is_right_scores_so():
    data = table(40)
    model = predictor()
    labelled = {**data, "label": truth(data)}
    assert model.evaluate(labelled, "accuracy") == {"accuracy": 1.0}
    wrong = ["no" if cell == "yes" else "yes" for cell in truth(data)]
    half = [*truth(data)[:10], *wrong[10:]]
    assert model.evaluate({**data, "label": half}, ["accuracy"]) == {"accuracy": 0.25}


def test_rows_that_failed_or_have_no_label_are_left_out_and_counted():
    data = table(10)
    labels = truth(data)
    labels[2], labels[5] = None, "perhaps"
    data["price"][7] = "x"
    with pytest.warns(RowWarning, match="3 of 10 rows are left out of the evaluation"):
        scores, found = predictor().evaluate(
            {**data, "label": labels}, "accuracy", return_pred=True
        )
    assert scores == {"accuracy": 1.0}
    assert len(found) == 10
    assert found[7] is None


def test_a_regression_is_scored_in_the_unit_of_its_label():
    data = table(10)
    labels = [float(str(value)) + 2 for value in truth(data, NUMBERS)]
    found = predictor(NUMBERS).evaluate({**data, "worth": labels}, "rmse")
    assert found == {"rmse": pytest.approx(2)}


def test_an_evaluation_without_labels_names_what_is_missing():
    with pytest.raises(SchemaError, match="'label' is absent"):
        predictor().evaluate(table(3))
    with pytest.raises(SchemaError, match="'label' is absent, there is 'Label'"):
        predictor().evaluate({**table(3), "Label": ["no"] * 3})
    with pytest.raises(DataError, match="no row has both an answer and a label: row 0, 'label'"):
        predictor().evaluate({**table(3), "label": [None] * 3})
    with pytest.raises(DataError, match="no row has both"):
        predictor().evaluate({**table(0), "label": []})


def test_a_metric_that_is_none_is_refused():
    data = table(8)
    with pytest.raises(ConfigError, match="acuracy"):
        predictor().evaluate({**data, "label": truth(data)}, "acuracy")


class Swapped(Predicts):
    """Answers like a server whose bundle gives way to another one while it is asked."""

    def __init__(self) -> None:
        self._before, self._after = (
            ClassesAnswer("kind", ("a", "b")),
            ClassesAnswer("sort", ("x", "y", "z")),
        )
        self._asked = False

    @property
    def answers(self) -> dict[str, AnyAnswer]:
        return {"predict": self._after if self._asked else self._before}

    def run(self, table: Table, program: str = "predict") -> Predictions:
        self._asked = True
        return Predictions(self._after.decode({"probabilities": np.eye(3)[:2]}), [], [])


def test_an_answer_is_read_as_the_bundle_means_it_that_gave_it():
    assert Swapped().predict({"a": [1, 2]}).tolist() == ["x", "y"]
    assert Swapped().predict_proba({"a": [1, 2]}).shape == (2, 3)
    pytest.importorskip("pandas")
    assert list(Swapped().predict_proba({"a": [1, 2]}, as_pandas=True)) == ["x", "y", "z"]
