from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automm.training.augment_texts import OPERATIONS, read_augmenter
from automm_serve.errors import ConfigError

TEXT = "it is a long text of more than ten words which a step may change"
WORDS = TEXT.split()


def chances(rows, seed=0):
    return [np.random.default_rng([seed, row]) for row in range(rows)]


def change(cells, seed=0, most=0.5, from_words=10, types=None):
    augmenter = read_augmenter("model.hf_text", most, from_words, types)
    assert augmenter is not None
    return augmenter.change(cells, chances(len(cells), seed))


def test_long_texts_change_and_all_else_stays():
    cells = ["short one", None, TEXT, 12, "nan", *[TEXT] * 40]
    found = change(cells)
    assert found[:2] == cells[:2]
    assert found[3:5] == cells[3:5]
    kept = found[5:].count(TEXT)
    assert 0 < kept < 25, "about one of five stays as it is"
    assert change(cells) == found, "by the same seed"
    assert change(cells, seed=1) != found


def test_where_no_text_is_long_enough_there_is_nothing_to_do():
    assert change(["a b", None, "12"]) is None
    assert change(["a b c"] * 20, from_words=3) is not None


def test_a_share_of_nothing_asks_for_nothing():
    assert read_augmenter("model.hf_text", 0.0, 10, None) is None


@given(st.lists(st.text("abcXYZ", min_size=1), min_size=1, max_size=30), st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_operations_keep_the_words_but_for_what_they_are_about(words, count):
    generator = np.random.default_rng(0)
    assert Counter(OPERATIONS["random_swap"](words, count, generator)) == Counter(words)
    left = OPERATIONS["random_delete"](words, count, generator)
    assert len(left) == max(1, len(words) - count)
    assert not Counter(left) - Counter(words)
    cased = OPERATIONS["random_case"](words, count, generator)
    assert [word.lower() for word in cased] == [word.lower() for word in words]
    assert sum(a != b for a, b in zip(cased, words, strict=True)) == min(count, len(words))
    marked = OPERATIONS["insert_punc"](words, count, generator)
    assert [word for word in marked if word not in ".,!?;:"] == words
    assert len(marked) == len(words) + count


def test_the_share_bounds_the_words_that_change():
    found = change([TEXT] * 50, most=0.1, types=["random_case"])
    for text in found:
        assert sum(a != b for a, b in zip(text.split(), WORDS, strict=True)) <= 2
    half = change([TEXT] * 50, most=0.1, types=["random_case(0.5)"])
    assert {sum(a != b for a, b in zip(t.split(), WORDS, strict=True)) for t in half} == {0, 8}


@pytest.mark.parametrize(
    ("name", "says"), [("random_swp", "'random_swap' is near"), ("syn_replacement", "dictionary")]
)
def test_an_unknown_operation_is_named(name, says):
    with pytest.raises(ConfigError, match=says):
        read_augmenter("model.hf_text", 0.1, 10, [name])
