"""Every metric chooses the best state: the scorer of validation takes each of them."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("torch")

from automm.training.scoring import Scorer
from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.metrics import METRICS, find_metric, problem_type_of

CLASSES = {2: ("no", "yes"), 3: ("a", "b", "c")}


def scorer(answer, truth, metric, own=None):
    rows = SimpleNamespace(table={answer.columns[0].name: truth})
    return Scorer(cast(Any, SimpleNamespace(valid=rows)), answer, metric, own)


CASES = [(name, kind) for name, metric in METRICS.items() for kind in metric.problem_types]


@pytest.mark.parametrize(("name", "problem_type"), CASES)
def test_every_metric_scores_validation_rows_and_tells_good_from_bad(name, problem_type):
    pytest.importorskip("sklearn")
    if problem_type == "regression":
        answer: AnyAnswer = ValuesAnswer("n", 3.0, 1.0)
        truth: list[Any] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        good = {"values": np.array(truth, np.float32)[:, None] + np.float32(0.01)}
        bad = {"values": np.array([6, 1, 5, 2, 4, 3], np.float32)[:, None]}
    else:
        classes = CLASSES[2 if problem_type == "binary" else 3]
        answer = ClassesAnswer("n", classes)
        truth = [classes[row % len(classes)] for row in range(12)]
        codes = np.array([row % len(classes) for row in range(12)])
        sure = np.full((12, len(classes)), 0.005 / (len(classes) - 1), np.float32)
        sure[np.arange(12), codes] = 0.995
        good = {"probabilities": sure}
        bad = {"probabilities": np.roll(sure, 5, axis=0)}
    assert problem_type_of(answer) == problem_type
    found = scorer(answer, truth, name)
    high, low = found.of(good), found.of(bad)
    assert np.isfinite(high)
    assert found.is_better(high, low) or (name == "coverage" and high == 1.0)
    assert not found.is_better(low, high)
    assert not found.is_better(float("nan"), high)


def test_a_function_of_one_s_own_chooses_too():
    def wrong(truth, prediction, *_):
        return (truth != prediction).sum()

    cast(Any, wrong).greater_is_better = False
    answer = ClassesAnswer("n", ("a", "b"))
    found = scorer(answer, ["a", "b"], "wrong", find_metric(wrong, "binary"))
    right = {"probabilities": np.eye(2, dtype=np.float32)}
    assert found.of(right) == 0
    assert found.is_better(0, 1)
    assert found.of(right, "accuracy") == 1
