import time
import warnings

import pytest

pytest.importorskip("torch")

from automm.predictor import MultiModalPredictor
from automm.training import clock as under_test
from automm.training.clock import Clock
from tests.automm.training.running import TYPES, settings, table


class Now:
    def __init__(self, monkeypatch):
        self.at = 1000.0
        monkeypatch.setattr(under_test, "monotonic", lambda: self.at)


@pytest.fixture
def now(monkeypatch):
    return Now(monkeypatch)


def test_without_a_limit_there_is_always_time(now):
    clock = Clock(None)
    now.at += 1e9
    assert not clock.is_over(99)
    assert clock.allows(99)


def test_what_comes_after_training_is_reserved(now):
    clock = Clock(1100.0, rival_share=0.1)
    clock.stepped(1.0)
    clock.validated(10.0)
    now.at = 1050.0
    assert not clock.is_over(3)  # 3 validations, 5 s for the rival, a step, saving
    now.at = 1060.0
    assert clock.is_over(3)
    assert not clock.is_over(1)
    assert clock.is_over(4)


def test_a_first_validation_is_guessed_and_again_before_a_guess_ends_training(now):
    clock = Clock(1100.0)
    assert clock.wants_guess(1)
    clock.guessed(50.0)
    assert not clock.wants_guess(1)
    now.at = 1045.0
    assert clock.is_over(1)
    assert clock.wants_guess(1)
    clock.guessed(20.0)
    assert not clock.is_over(1)
    for _ in range(5):
        clock.guessed(99.0)
    now.at = 1099.0
    assert clock.is_over(1)
    assert not clock.wants_guess(1)
    clock.validated(2.0)
    assert clock.validate_s == 2.0
    assert not Clock(None).wants_guess(1)


def test_what_was_slow_once_is_forgotten(now):
    clock = Clock(1100.0)
    for seconds in (10.0, *[1.0] * 12):
        clock.validated(seconds)
    assert clock.validate_s == pytest.approx(1.0, abs=0.01)


def test_large_weights_need_time_to_be_saved(now):
    small, large = Clock(1010.0), Clock(1010.0, size_bytes=2_000_000_000)
    assert not small.is_over(1)
    assert large.is_over(1)


def test_the_rival_gets_a_share_of_the_past_and_no_more_than_is_left(now):
    clock = Clock(1100.0, rival_share=0.1)
    now.at = 1050.0
    assert clock.rival_budget() == 5.0
    now.at = 1098.0
    assert clock.rival_budget() == 1.5
    now.at = 1200.0
    assert clock.rival_budget() == 0.0


def fit(folder, given, limit, monkeypatch):
    predictor = MultiModalPredictor(label="kind", path=folder / "p", verbosity=0)
    begun = time.monotonic()
    ends = []
    save = MultiModalPredictor._take

    def watched(self, *arguments):
        ends.append(time.monotonic() - begun)
        save(self, *arguments)

    monkeypatch.setattr(MultiModalPredictor, "_take", watched)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictor.fit(table(3000), hyperparameters=given, column_types=TYPES, time_limit=limit)
    return predictor.fit_summary(), ends[0]


@pytest.mark.slow
def test_the_limit_holds_for_all_of_it(tmp_path, monkeypatch):
    # Validations are a good part of it, and the averaging of three states comes after.
    given = settings(tmp_path, optim__max_epochs=9999, optim__patience=9999)
    summary, took = fit(tmp_path, given | {"optim.val_check_interval": 0.2}, 60, monkeypatch)
    assert summary["stopped"] == "time_limit"
    assert took < 1.1 * 60, (took, summary["seconds"])
    # No lower bound of 0.9: what is reserved is not needed where a busy machine is so no more.
    assert took > 0.3 * 60, (took, summary["seconds"])
