from collections import Counter

import pytest

from automm.data.split import holdout_fraction, split_rows
from automm_serve.errors import ConfigError, DataError


def test_the_share_is_that_of_autogluon():
    # PEER 1.2: max(0.1, min(0.2, 500/rows)) below 5,000 rows, else max(0.01, min(0.1, 2500/rows))
    assert [holdout_fraction(n) for n in (100, 2500, 4999, 5000, 50_000, 10**6)] == [
        0.2, 0.2, pytest.approx(0.10002), 0.1, 0.05, 0.01,
    ]  # fmt: skip


def test_each_class_gives_its_share_and_a_single_row_stays_in_training():
    label = ["a"] * 60 + ["b"] * 40 + ["once"]
    train, valid = split_rows(label, 0.2, 0, stratify=True)
    assert sorted(train + valid) == list(range(101))
    held = Counter(label[row] for row in valid)
    assert held["once"] == 0
    assert abs(held["a"] - 12) <= 1
    assert abs(held["b"] - 8) <= 1


def test_the_seed_alone_decides():
    label = list(range(50))
    assert split_rows(label, None, 3, stratify=False) == split_rows(label, None, 3, stratify=False)
    assert split_rows(label, None, 3, stratify=False) != split_rows(label, None, 4, stratify=False)


def test_gaps_and_unreadable_labels_do_not_stop_the_split():
    label = [None, float("nan"), ["a list"], b"\xff", "a", "a", "a", "b", "b", "b"]
    train, valid = split_rows(label, 0.3, 0, stratify=True)
    assert len(train) + len(valid) == 10


def test_what_cannot_be_split_is_refused():
    with pytest.raises(ConfigError, match="holdout_frac"):
        split_rows(["a"] * 10, 1.5, 0, stratify=True)
    with pytest.raises(DataError, match="3 rows"):
        split_rows(["a"] * 3, None, 0, stratify=True)
