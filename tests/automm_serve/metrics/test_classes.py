"""Metrics of classes against scikit-learn, on ordinary and on degenerate answers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given as property_of
from hypothesis import settings as limits
from hypothesis import strategies as st

from automm_serve.metrics import METRICS
from tests.automm_serve.metrics.reference import answers, of, reference

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


@pytest.mark.parametrize("name", of("binary"))
@pytest.mark.parametrize("seed", [0, 1])
def test_two_classes_score_as_in_scikit_learn(name, seed):
    pytest.importorskip("sklearn")
    given = answers(2, seed=seed)
    assert METRICS[name].function(*given) == pytest.approx(reference(name, *given), abs=1e-9)


@pytest.mark.parametrize("name", of("multiclass"))
@pytest.mark.parametrize("classes", [3, 7])
def test_many_classes_score_as_in_scikit_learn(name, classes):
    pytest.importorskip("sklearn")
    given = answers(classes)
    assert METRICS[name].function(*given) == pytest.approx(reference(name, *given), abs=1e-9)


@pytest.mark.parametrize("name", of("multiclass"))
def test_a_class_without_rows_scores_as_in_scikit_learn_or_is_not_defined(name):
    pytest.importorskip("sklearn")
    truth, prediction, probabilities, classes = answers(4)
    given = (np.where(truth == 3, 0, truth), prediction, probabilities, classes)
    expected = reference(name, *given)
    assert METRICS[name].function(*given) == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("name", of("binary"))
def test_one_class_alone_scores_as_in_scikit_learn_or_is_not_defined(name):
    pytest.importorskip("sklearn")
    _, prediction, probabilities, classes = answers(2)
    given = (np.zeros(200, np.int64), prediction, probabilities, classes)
    found = METRICS[name].function(*given)
    if name in ("roc_auc", "average_precision", "pac", "pac_score"):
        assert np.isnan(found)
    else:
        assert found == pytest.approx(reference(name, *given), abs=1e-9, nan_ok=True)


def test_a_certain_wrong_answer_costs_what_float32_can_say():
    given = (np.array([0, 1]), np.array([1, 1]), np.array([[0, 1], [0, 1]], np.float32), (0, 1))
    expected = (-np.log(np.finfo(np.float32).eps) + 0) / 2
    assert METRICS["log_loss"].function(*given) == pytest.approx(expected, rel=1e-6)


@st.composite
def few_rows(draw: Any, classes: int) -> Any:
    """One to twelve rows; classes may lack, probabilities tie, answers be constant."""
    rows = draw(st.integers(1, 12))
    weights = st.lists(st.integers(1, 9), min_size=classes, max_size=classes)
    raw = np.array([draw(weights) for _ in range(rows)], np.float64)
    truth = np.array(draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)))
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    return truth, probabilities.argmax(axis=1), probabilities, range(classes)


@limits(max_examples=60, deadline=None)
@property_of(st.sampled_from(of("binary")), few_rows(2))
def test_a_few_rows_of_two_classes_score_as_in_scikit_learn(name, given):
    _compare(name, given)


@limits(max_examples=60, deadline=None)
@property_of(st.sampled_from(of("multiclass")), few_rows(4))
def test_a_few_rows_of_four_classes_score_as_in_scikit_learn(name, given):
    _compare(name, given)


def _compare(name: str, given: Any) -> None:
    pytest.importorskip("sklearn")
    found = METRICS[name].function(*given)
    if np.isnan(found):  # it says when: and scikit-learn has no value of its own there
        assert METRICS[name].undefined, name
        one_class = len(np.unique(given[0])) == 1
        absent = len(np.unique(given[0])) < len(given[3])
        assert one_class or ("no rows" in METRICS[name].undefined and absent)
    else:
        assert found == pytest.approx(reference(name, *given), abs=1e-9)


@pytest.mark.parametrize(("classes", "expected"), [(2, -0.4781011240005), (3, -0.2301464119782)])
def test_pac_is_that_of_autogluon_where_an_answer_is_certain_and_wrong(classes, expected):
    # The figures were made once with autogluon.core.metrics.pac 1.6.3 on these very rows.
    draw = np.random.default_rng(0)
    probabilities = draw.dirichlet(np.ones(classes), 50)
    truth = draw.integers(0, classes, 50)
    probabilities[0] = np.eye(classes)[truth[0]]
    probabilities[1] = np.eye(classes)[(truth[1] + 1) % classes]
    found = METRICS["pac"].function(truth, probabilities.argmax(1), probabilities, range(classes))
    assert found == pytest.approx(expected, abs=1e-9)


def test_coverage_counts_a_side_only_where_it_keeps_its_word():
    truth = np.array([1, 1, 0, 0, 0])
    positive = np.array([0.98, 0.99, 0.001, 0.5, 0.2])
    given = (truth, (positive > 0.5) * 1, np.stack([1 - positive, positive], axis=1), (0, 1))
    assert METRICS["coverage"].function(*given) == pytest.approx(3 / 5)
    wrong = (np.array([1, 0, 0, 0, 0]), *given[1:])
    assert METRICS["coverage"].function(*wrong) == pytest.approx(1 / 5)
