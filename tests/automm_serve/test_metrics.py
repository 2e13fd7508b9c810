"""Every metric against scikit-learn and scipy, on ordinary and on degenerate answers."""

import sys
import warnings
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given as property_of
from hypothesis import settings as limits
from hypothesis import strategies as st

from automm_serve import metrics
from automm_serve.answers import ClassesAnswer, EmbeddingAnswer, ValuesAnswer
from automm_serve.errors import ConfigError, DataError, MissingDependencyError
from automm_serve.metrics import METRICS, find_metric, score

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def answers(classes: int, rows: int = 200, seed: int = 0) -> Any:
    """Truth, predictions, probabilities (float64), some of them equal, none of them certain."""
    draw = np.random.default_rng(seed)
    raw = draw.integers(1, 12, (rows, classes)).astype(np.float64)
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    truth = draw.integers(0, classes, rows)
    return truth, probabilities.argmax(axis=1), probabilities, range(classes)


def reference(name: str, truth: Any, prediction: Any, probabilities: Any, classes: Any) -> Any:
    """The score by scikit-learn, written out here once more."""
    import sklearn.metrics as sk

    positive = probabilities[:, 1]
    labels = list(classes)
    plain = {
        "accuracy": sk.accuracy_score,
        "acc": sk.accuracy_score,
        "balanced_accuracy": sk.balanced_accuracy_score,
        "mcc": sk.matthews_corrcoef,
    }
    if name in plain:
        return plain[name](truth, prediction)
    if name == "quadratic_kappa":
        return sk.cohen_kappa_score(truth, prediction, labels=labels, weights="quadratic")
    if name in ("pac", "pac_score"):
        entropy = pytest.importorskip("scipy.stats").entropy
        least = np.exp(-entropy(np.bincount(truth, minlength=len(labels)) / len(truth)))
        reached = np.exp(-sk.log_loss(truth, probabilities, labels=labels))
        return (reached - least) / (1 - least) if least < 1 else np.nan
    if name == "coverage":
        return _coverage_by_hand(truth, positive)
    if name in ("log_loss", "nll"):
        return sk.log_loss(truth, probabilities, labels=labels)
    if name == "roc_auc":
        return sk.roc_auc_score(truth, positive)
    if name == "average_precision":
        return sk.average_precision_score(truth, positive)
    if name.startswith("roc_auc_"):
        way, _, average = name.removeprefix("roc_auc_").partition("_")
        return sk.roc_auc_score(
            truth, probabilities, multi_class=way, average=average or "macro", labels=labels
        )
    family, _, average = name.partition("_")
    function = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
    return function[family](truth, prediction, average=average or "binary", zero_division=0)


def _coverage_by_hand(truth: Any, positive: Any) -> float:
    """Row by row, as the peer's documentation of its two thresholds reads."""
    found = 0.0
    for sure, right, share in (
        ([p >= 0.97 for p in positive], [t == 1 for t in truth], 0.97),
        ([p <= 1 - 0.99 for p in positive], [t == 0 for t in truth], 0.99),
    ):
        hits = [ok for ok, counts in zip(right, sure, strict=True) if counts]
        if hits and sum(hits) / len(hits) >= share:
            found += len(hits) / len(truth)
    return found


def of(problem_type: str) -> list[str]:
    return [name for name, one in METRICS.items() if problem_type in one.problem_types]


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


NUMBERS = {
    "r2": "r2_score",
    "mse": "mean_squared_error",
    "mean_squared_error": "mean_squared_error",
    "rmse": "root_mean_squared_error",
    "root_mean_squared_error": "root_mean_squared_error",
    "mae": "mean_absolute_error",
    "mean_absolute_error": "mean_absolute_error",
    "median_absolute_error": "median_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "mean_absolute_percentage_error": "mean_absolute_percentage_error",
}


def values(kind: str) -> Any:
    draw = np.random.default_rng(0)
    truth = draw.normal(10, 3, 150).round(1)  # rounded: ties
    prediction = (truth + draw.normal(0, 2, 150)).round(1)
    match kind:
        case "zeros":
            truth[::7] = 0
        case "constant truth":
            truth[:] = 4
        case "constant answer":
            prediction[:] = 4
        case "constant both":
            truth[:] = prediction[:] = 4
        case "one row":
            return truth[:1], prediction[:1]
    return truth, prediction


KINDS = ["ordinary", "zeros", "constant truth", "constant answer", "constant both", "one row"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_score_as_in_scikit_learn(name, kind):
    sk = pytest.importorskip("sklearn.metrics")
    truth, prediction = values(kind)
    found = METRICS[name].function(truth, prediction, np.empty(0), ())
    expected = getattr(sk, NUMBERS[name])(truth, prediction)
    assert found == pytest.approx(expected, rel=1e-9, nan_ok=True)


@pytest.mark.parametrize("kind", KINDS[:-1])
@pytest.mark.parametrize("name", ["pearsonr", "spearmanr"])
def test_correlations_are_those_of_scipy(name, kind):
    stats = pytest.importorskip("scipy.stats")
    truth, prediction = values(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a constant has no correlation
        expected = getattr(stats, name)(truth, prediction)[0]
    found = METRICS[name].function(truth, prediction, np.empty(0), ())
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_smape_is_a_share_of_both_sizes_and_two_zeros_are_no_error():
    truth, prediction = np.array([0.0, 2.0, 0.0, -1.0]), np.array([0.0, 1.0, 3.0, 1.0])
    for name in ("smape", "symmetric_mean_absolute_percentage_error"):
        assert METRICS[name].function(truth, prediction, np.empty(0), ()) == pytest.approx(
            (0 + 1 / 3 + 1 + 1) / 4
        )


def test_every_name_of_regression_is_checked():
    assert set(of("regression")) == {
        *NUMBERS, "pearsonr", "spearmanr", "smape", "symmetric_mean_absolute_percentage_error"
    }  # fmt: skip


def test_a_certain_wrong_answer_costs_what_float32_can_say():
    given = (np.array([0, 1]), np.array([1, 1]), np.array([[0, 1], [0, 1]], np.float32), (0, 1))
    expected = (-np.log(np.finfo(np.float32).eps) + 0) / 2
    assert METRICS["log_loss"].function(*given) == pytest.approx(expected, rel=1e-6)


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


numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 2))


@limits(max_examples=60, deadline=None)
@property_of(
    st.sampled_from(sorted(NUMBERS)),
    st.lists(st.tuples(numbers, numbers), min_size=2, max_size=12),
)
def test_a_few_numbers_score_as_in_scikit_learn(name, pairs):
    sk = pytest.importorskip("sklearn.metrics")
    truth, prediction = np.array(pairs).T
    found = METRICS[name].function(truth, prediction, np.empty(0), ())
    expected = getattr(sk, NUMBERS[name])(truth, prediction)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


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


def hits(truth, prediction, probabilities, classes):
    """Rows that were answered rightly."""
    return (truth == prediction).sum()


def test_a_function_is_a_metric_and_says_which_way_is_better():
    found = find_metric(hits, "multiclass")
    assert (found.name, found.greater_is_better) == ("hits", True)
    cast(Any, hits).greater_is_better = False
    try:
        assert not find_metric(hits, "binary").greater_is_better
    finally:
        del cast(Any, hits).greater_is_better
    answer = ValuesAnswer("price", 0.0, 1.0)
    assert score([hits, "mae"], answer, [1, 2], {"price": [1.0, 4.0]}) == {"hits": 1, "mae": 1}


def test_a_function_that_gives_no_number_or_is_none_is_named():
    answer = ValuesAnswer("price", 0.0, 1.0)

    def words(*_):
        return "good"

    with pytest.raises(ConfigError, match=r"metric 'words': it gave str, not a number"):
        score(words, answer, [1], {"price": [1.0]})
    with pytest.raises(ConfigError, match="neither a name nor a function"):
        find_metric(3, "regression")  # type: ignore[arg-type]
    words.problem_types = ("binary",)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="'words' is no metric of regression"):
        find_metric(words, "regression")


def test_a_scorer_as_autogluon_makes_them_is_not_flipped():
    class Scorer:
        name = "brier"
        sign = -1
        needs_proba = True

        def __call__(self, truth, positive):
            return -float(((truth - positive) ** 2).mean())

    found = find_metric(Scorer(), "binary")
    assert not found.greater_is_better
    truth, prediction, probabilities, classes = answers(2)
    expected = ((truth - probabilities[:, 1]) ** 2).mean()
    assert found.function(truth, prediction, probabilities, classes) == pytest.approx(expected)


def test_a_distribution_brings_a_metric_by_entry_point(monkeypatch, tmp_path):
    package = tmp_path / "stranger.py"
    package.write_text(
        "def misses(truth, prediction, *_):\n    return (truth != prediction).sum()\n"
        "misses.greater_is_better = False\n"
    )
    info = tmp_path / "stranger-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[automm.metrics]\nmisses = stranger:misses\n")
    with pytest.raises(ConfigError, match="'misses' is unknown"):
        find_metric("misses", "binary")
    monkeypatch.syspath_prepend(tmp_path)
    found = find_metric("misses", "binary")
    assert not found.greater_is_better
    answer = ValuesAnswer("price", 0.0, 1.0)
    assert score("misses", answer, [1, 2], {"price": [1.0, 4.0]}) == {"misses": 1.0}
    with pytest.raises(ConfigError, match="'misses' is near"):
        find_metric("mises", "binary")


def test_a_name_may_be_in_capitals_and_the_loss_itself_is_a_metric():
    assert find_metric("ROC_AUC", "binary").name == "roc_auc"
    assert find_metric("direct_loss", "multiclass").name == "log_loss"
    assert find_metric("direct_loss", "regression").name == "mse"
