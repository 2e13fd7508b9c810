"""Metrics of numbers against scikit-learn and scipy, on ordinary and on degenerate answers."""

import warnings

import numpy as np
import pytest
from hypothesis import given as property_of
from hypothesis import settings as limits
from hypothesis import strategies as st

from automm_serve.metrics import METRICS
from tests.automm_serve.metrics.reference import KINDS, NUMBERS, of, values

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


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
