"""``score`` over answers, and the table of metrics: names, defaults, what is refused."""

import sys
from typing import Any

import numpy as np
import pytest

from automm_serve import metrics
from automm_serve.answers import ClassesAnswer, EmbeddingAnswer, ValuesAnswer
from automm_serve.errors import ConfigError, DataError, MissingDependencyError
from automm_serve.metrics import METRICS, find_metric, score
from tests.automm_serve.metrics.reference import answers, of, values


def test_answers_are_scored_by_their_spelling_not_their_type():
    answer = ClassesAnswer("stars", (1, 2, 3))
    predictions: dict[str, Any] = {
        "stars": [1, 2, 2, 3],
        "probabilities": [
            np.array([0.8, 0.1, 0.1], np.float32),
            np.array([0.1, 0.8, 0.1], np.float32),
        ]
        * 2,
    }
    found = score(["accuracy", "log_loss"], answer, ["1", 2.0, 3, "3"], predictions)
    expected = -np.log(np.array([0.8, 0.8, 0.1, 0.1], np.float32).astype(float)).mean()
    assert found == {"accuracy": 0.75, "log_loss": pytest.approx(expected, abs=1e-9)}


def test_one_name_or_none_will_do():
    answer = ValuesAnswer("price", 0.0, 1.0)
    assert score(None, answer, ["1", 2], {"price": [1.0, 4.0]}) == {"rmse": 2**0.5}
    assert score("mae", answer, [1, 2], {"price": [1.0, 4.0]}) == {"mae": 1.0}


def test_numbers_are_compared_in_double_precision():
    found = score("mae", ValuesAnswer("id", 0.0, 1.0), [16777217], {"id": [16777216.0]})
    assert found == {"mae": 1.0}


def test_a_truth_that_cannot_be_read_is_named():
    answer = ClassesAnswer("kind", ("a", "b"))
    row: dict[str, Any] = {"kind": ["a"], "probabilities": [np.array([1, 0], np.float32)]}
    with pytest.raises(DataError, match=r"label 'kind', row 0.*'z' is not one of the classes"):
        score(None, answer, ["z"], row)
    with pytest.raises(DataError, match=r"label 'n', row 1.*missing"):
        score(None, ValuesAnswer("n", 0.0, 1.0), [1, None], {"n": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"'abc' is not a number"):
        score(None, ValuesAnswer("n", 0.0, 1.0), ["abc"], {"n": [1.0]})
    with pytest.raises(DataError, match="no rows"):
        score(None, answer, [], {"kind": [], "probabilities": []})


def test_features_have_no_truth():
    with pytest.raises(ConfigError, match="no metrics for EmbeddingAnswer"):
        score(None, EmbeddingAnswer(4), [1], {"features": [[0, 0, 0, 0]]})


def test_losses_are_told_from_gains_and_what_needs_probabilities_says_so():
    losses = {name for name, one in METRICS.items() if not one.greater_is_better}
    assert {"log_loss", "nll", "rmse", "mae", "mse", "mape", "smape"} <= losses
    assert not losses & {"accuracy", "r2", "roc_auc", "spearmanr", "f1_macro"}
    asking = {name for name, one in METRICS.items() if one.needs == "probabilities"}
    assert {"log_loss", "roc_auc", "average_precision", "roc_auc_ovo_weighted"} <= asking


def test_the_defaults_and_what_is_reported_need_no_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for problem_type, names in metrics.REPORTED_METRICS.items():
        assert metrics.DEFAULT_METRICS[problem_type] in names
        given = (*values("ordinary"), np.empty(0), ())
        if problem_type != "regression":
            given = answers(2 if problem_type == "binary" else 3)
        for name in names:
            assert np.isfinite(find_metric(name, problem_type).function(*given))
    with pytest.raises(MissingDependencyError, match=r"automm-edge\[metrics\]"):
        METRICS["mcc"].function(*answers(2))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acuracy", r"'acuracy' is unknown; 'accuracy' is near"),
        ("rmse", r"'rmse' is no metric of binary"),
        ("roc_auc_ovo", r"no metric of binary; 'roc_auc' is near"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_with_a_near_name(name, message):
    with pytest.raises(ConfigError, match=message):
        find_metric(name, "binary")


def test_a_name_may_be_in_capitals_and_the_loss_itself_is_a_metric():
    assert find_metric("ROC_AUC", "binary").name == "roc_auc"
    assert find_metric("direct_loss", "multiclass").name == "log_loss"
    assert find_metric("direct_loss", "regression").name == "mse"


PEER = {
    "binary": (
        "accuracy acc balanced_accuracy mcc log_loss nll pac pac_score quadratic_kappa roc_auc "
        "average_precision precision precision_macro precision_micro precision_weighted recall "
        "recall_macro recall_micro recall_weighted f1 f1_macro f1_micro f1_weighted coverage"
    ),
    "multiclass": (
        "accuracy acc balanced_accuracy mcc log_loss nll pac pac_score quadratic_kappa "
        "precision_macro precision_micro precision_weighted recall_macro recall_micro "
        "recall_weighted f1_macro f1_micro f1_weighted roc_auc_ovo roc_auc_ovo_macro "
        "roc_auc_ovo_weighted roc_auc_ovr roc_auc_ovr_macro roc_auc_ovr_micro roc_auc_ovr_weighted"
    ),
    "regression": (
        "r2 mse mean_squared_error rmse root_mean_squared_error mae mean_absolute_error "
        "median_absolute_error mape mean_absolute_percentage_error smape "
        "symmetric_mean_absolute_percentage_error spearmanr pearsonr"
    ),
}


@pytest.mark.parametrize("problem_type", PEER)
def test_every_name_of_autogluon_is_a_metric_and_no_other(problem_type):
    assert set(of(problem_type)) == set(PEER[problem_type].split())


def test_every_metric_says_what_it_measures():
    assert not [name for name, one in METRICS.items() if not one.meaning]
