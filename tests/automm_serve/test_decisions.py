"""Thresholds: which class is meant, whoever asks, and which one a metric likes best."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automm_serve.agreement import compare_answers
from automm_serve.answers import AnyAnswer, ClassesAnswer, EmbeddingAnswer, ValuesAnswer
from automm_serve.decisions import best_threshold, checked_threshold, named, pays
from automm_serve.errors import ConfigError, DataError
from automm_serve.metrics import METRICS, Metric
from automm_serve.metrics.own import as_metric
from automm_serve.pipeline import Pipeline, Program, Step, with_threshold
from automm_serve.predicts import Predictions, Predicts
from automm_serve.schema import Column, Schema
from automm_serve.tensors import Table

BINARY = ClassesAnswer("kind", ("no", "yes"))
PROBABILITY = st.floats(0, 1, width=32)


def pair(positive: list[float]) -> np.ndarray[Any, np.dtype[np.float32]]:
    second = np.array(positive, np.float32)
    return np.stack([1 - second, second], axis=1)


class Fixed(Predicts):
    """Answers with these probabilities, whatever the rows."""

    def __init__(self, answer: ClassesAnswer, probabilities: Any) -> None:
        self.answer = answer
        self.probabilities = probabilities

    @property
    def answers(self) -> dict[str, AnyAnswer]:
        return {"predict": self.answer, "embed": EmbeddingAnswer(1)}

    def run(self, table: Table, program: str = "predict") -> Predictions:
        return Predictions(self.answer.decode({"probabilities": self.probabilities}), [], [])


@given(st.lists(PROBABILITY, min_size=1, max_size=20), st.floats(0, 1))
def test_every_way_of_asking_gives_the_class_that_the_probability_reaches(positive, threshold):
    probabilities = pair(positive)
    set_to = msgspec.structs.replace(BINARY, threshold=threshold)
    expected = ["yes" if p >= np.float32(threshold) else "no" for p in probabilities[:, 1]]
    rows = {"x": [0] * len(positive)}
    assert Fixed(set_to, probabilities).predict(rows).tolist() == expected
    plain = Fixed(BINARY, probabilities)
    assert plain.predict(rows, decision_threshold=threshold).tolist() == expected
    assert plain.predict_from_proba(probabilities, threshold).tolist() == expected
    alone = plain.predict_proba(rows, as_multiclass=False)
    assert plain.predict_from_proba(alone, threshold).tolist() == expected
    assert Fixed(set_to, probabilities).predict_from_proba(probabilities).tolist() == expected


@given(st.lists(PROBABILITY, min_size=1, max_size=20))
def test_one_half_answers_the_more_probable_class_and_a_tie_is_the_second_ones(positive):
    probabilities = pair(positive)
    for row, code in zip(probabilities, BINARY.decide(probabilities), strict=True):
        assert row[code] == row.max()
    assert BINARY.decide(pair([0.5])).tolist() == [1]


def test_a_row_at_the_threshold_is_of_the_second_class_whatever_the_type_that_it_came_in():
    for threshold in (0.1, 0.3, 0.7, 1 / 3):
        at = np.float32(threshold)
        below, above = np.nextafter(at, np.float32(0)), np.nextafter(at, np.float32(1))
        table = pair([float(below), float(at), float(above)])
        assert BINARY.decide(table, threshold).tolist() == [0, 1, 1]
        assert BINARY.decide(table.astype(np.float64), threshold).tolist() == [0, 1, 1]


def test_the_ends_of_the_scale_answer_always_and_only_what_is_certain():
    table = pair([0.0, 0.4, 1.0])
    assert BINARY.decide(table, 0).tolist() == [1, 1, 1]
    assert BINARY.decide(table, 1).tolist() == [0, 0, 1]


def test_three_classes_have_no_threshold():
    three = ClassesAnswer("kind", ("a", "b", "c"))
    model = Fixed(three, np.array([[0.2, 0.3, 0.5]], np.float32))
    assert model.decision_threshold is None
    assert model.predict_from_proba(model.probabilities).tolist() == ["c"]
    with pytest.raises(ConfigError, match="'kind' is not one of two classes"):
        model.predict({"x": [1]}, decision_threshold=0.3)
    with pytest.raises(ConfigError, match="'price' is not one of two classes"):
        checked_threshold(ValuesAnswer("price", 0, 1), 0.5)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_threshold_that_is_no_probability_is_refused_everywhere(threshold):
    with pytest.raises(ConfigError, match="is no probability"):
        Fixed(BINARY, pair([0.5])).predict({"x": [1]}, decision_threshold=threshold)
    with pytest.raises(ValueError, match="is no probability"):
        ClassesAnswer("kind", ("no", "yes"), threshold)


def test_a_threshold_between_three_classes_is_refused_in_a_file():
    with pytest.raises(msgspec.ValidationError, match="between two classes"):
        msgspec.json.decode(
            b'{"type":"classes","label":"kind","classes":["a","b","c"],"threshold":0.2}',
            type=ClassesAnswer,
        )


def test_an_answer_at_one_half_is_written_as_before_there_were_thresholds():
    old = b'{"type":"classes","label":"kind","classes":["no","yes"]}'
    assert msgspec.json.encode(BINARY) == old
    assert msgspec.json.decode(old, type=ClassesAnswer).threshold == 0.5
    other = ClassesAnswer("kind", ("no", "yes"), 0.25)
    assert msgspec.json.decode(msgspec.json.encode(other), type=ClassesAnswer) == other


def test_a_pipeline_gets_another_threshold_and_nothing_else_changes():
    programs = {
        "predict": Program((), (Step("predict"),), BINARY),
        "embed": Program((), (Step("predict"),), EmbeddingAnswer(3)),
    }
    pipeline = Pipeline("model", "binary", Schema((Column("x", "number"),)), (), programs)
    changed = with_threshold(pipeline, 0.2)
    assert changed.programs["predict"].answer == ClassesAnswer("kind", ("no", "yes"), 0.2)
    assert with_threshold(changed, 0.5) == pipeline


@pytest.mark.parametrize("positive", [0.2, 0.2000001])
def test_another_class_is_excused_where_the_probability_is_at_the_threshold(positive):
    answer = ClassesAnswer("kind", ("no", "yes"), 0.2)

    def cells(label: str, p: float) -> Table:
        return {"kind": [label], "probabilities": [pair([p])[0]]}

    for p, ties in ((positive, 1), (0.5, 0)):
        left, right = cells("yes", p), cells("no", p)
        words, _ = compare_answers("triton", "predict", answer, left, right)
        assert (words.holds, words.ties) == (bool(ties), ties)


def test_rows_without_probabilities_have_no_class_and_frames_keep_their_index():
    pandas = pytest.importorskip("pandas")
    table = pair([0.9, 0.1])
    table[1] = np.nan
    assert named(BINARY, table) == ["yes", None]
    model = Fixed(BINARY, table)
    frame = pandas.DataFrame(pair([0.2, 0.8])[:, ::-1], columns=["yes", "no"], index=[7, 8])
    found = model.predict_from_proba(frame, 0.5)
    assert (found.tolist(), found.index.tolist(), found.name) == (["no", "yes"], [7, 8], "kind")
    found = model.predict_from_proba(frame["yes"], 0.1)  # as_multiclass=False
    assert (found.tolist(), found.index.tolist()) == (["yes", "yes"], [7, 8])


@pytest.mark.parametrize("given", [[[0.1, 0.2, 0.7]], 0.5, "yes", [["a", "b"]], [[[0.5, 0.5]]]])
def test_what_are_no_probabilities_of_these_classes_is_refused(given):
    with pytest.raises(DataError, match="no probabilities of 2 classes"):
        Fixed(BINARY, pair([0.5])).predict_from_proba(given)


def drawn(rows: int, seed: int = 0) -> tuple[Any, Any]:
    """Rows of which a tenth is positive, with probabilities that say how often they are."""
    random = np.random.default_rng(seed)
    positive = random.beta(0.4, 3, rows)
    return (random.random(rows) < positive).astype(np.int64), pair(positive.tolist())


def score(metric: Metric, truth: Any, probabilities: Any, threshold: float) -> float:
    guesses = BINARY.decide(probabilities, threshold)
    return metric.function(truth, guesses, probabilities, BINARY.classes)


@pytest.mark.parametrize("name", ["f1", "balanced_accuracy", "mcc"])
def test_a_threshold_that_was_fitted_is_better_on_new_rows_where_few_are_positive(name):
    metric = METRICS[name]
    truth, probabilities = drawn(600)
    found = best_threshold(truth, probabilities, BINARY.classes, metric)
    assert found < 0.4
    fresh = drawn(4000, seed=1)
    assert score(metric, *fresh, found) > score(metric, *fresh, 0.5) + 0.02


@given(
    st.lists(st.tuples(st.integers(0, 1), PROBABILITY), min_size=1, max_size=30),
    st.sampled_from(["f1", "balanced_accuracy", "mcc", "accuracy"]),
)
def test_it_is_never_worse_than_one_half_on_the_rows_that_it_was_fitted_on(rows, name):
    truth = np.array([code for code, _ in rows], np.int64)
    probabilities = pair([p for _, p in rows])
    found = best_threshold(truth, probabilities, BINARY.classes, METRICS[name])
    before = score(METRICS[name], truth, probabilities, 0.5)
    assert found == 0.5 or score(METRICS[name], truth, probabilities, found) > before


def test_an_error_is_made_small_and_what_no_threshold_changes_stays_at_one_half():
    truth, probabilities = drawn(300)

    def missed(truth: Any, prediction: Any, *_: object) -> float:
        return float(np.mean((truth == 1) & (prediction == 0)))

    missed.greater_is_better = False  # type: ignore[attr-defined]  # as users write it
    assert best_threshold(truth, probabilities, BINARY.classes, as_metric(missed)) < 0.1
    constant = pair([0.3] * 300)
    assert best_threshold(truth, constant, BINARY.classes, METRICS["f1"]) == 0.5
    assert best_threshold(truth, probabilities, BINARY.classes, METRICS["log_loss"]) == 0.5


def test_a_metric_that_is_often_undefined_chooses_among_the_thresholds_that_it_knows():
    truth, probabilities = drawn(300)

    def picky(truth: Any, prediction: Any, *_: object) -> float:
        return float("nan") if prediction.mean() < 0.2 else float(np.mean(truth == prediction))

    found = best_threshold(truth, probabilities, BINARY.classes, as_metric(picky))
    assert BINARY.decide(probabilities, found).mean() >= 0.2


def test_a_threshold_pays_for_metrics_of_answers_but_for_accuracy():
    assert [name for name in ("f1", "mcc", "balanced_accuracy", "precision") if pays(METRICS[name])]
    assert not any(pays(METRICS[name]) for name in ("accuracy", "acc", "roc_auc", "log_loss"))


def test_the_call_of_a_predictor_finds_it_and_changes_nothing():
    truth, probabilities = drawn(400)
    model = Fixed(BINARY, probabilities)
    table = {"x": [0] * 400, "kind": [BINARY.classes[code] for code in truth]}
    found = model.calibrate_decision_threshold(table)
    assert found == best_threshold(truth, probabilities, BINARY.classes, METRICS["f1"])
    assert model.decision_threshold == 0.5
    at_found = model.evaluate(table, "f1", decision_threshold=found)["f1"]
    assert at_found > model.evaluate(table, "f1")["f1"]
    with pytest.raises(ConfigError, match="it reads probabilities"):
        model.calibrate_decision_threshold(table, "roc_auc")
