"""Metrics of one's own: functions, scorers, and those that another distribution brings."""

from typing import Any, cast

import pytest

from automm_serve.answers import ValuesAnswer
from automm_serve.errors import ConfigError
from automm_serve.metrics import find_metric, score
from tests.automm_serve.metrics.reference import answers


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
