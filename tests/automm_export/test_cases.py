"""The feeds of the comparison: they are what they claim to be."""

import numpy as np
import pytest

from automm_export.cases import BATCHES, Cases
from automm_serve.tensors import Tensors
from tests.automm_export.tiny import exportable, rows

CASES = Cases(exportable().pipeline, rows())


def shapes(feed: Tensors) -> tuple[int, int]:
    return len(feed["text_ids"]), feed["text_ids"].shape[1]


def test_every_batch_and_every_length_occurs():
    batches, lengths = zip(*(shapes(case.feed) for case in CASES), strict=True)
    assert set(batches) == set(BATCHES)
    assert set(lengths) == {16, 32, 48}


def test_nothing_that_is_compared_was_traced():
    batch, length = shapes(CASES.traced())
    assert all(batch != b and length != n for b, n in (shapes(case.feed) for case in CASES))
    assert batch > 1
    assert length > 1


def test_every_pattern_of_gaps_occurs_and_leaves_the_gaps_it_names():
    feeds = {case.name.split(", ")[2]: case.feed for case in CASES}
    assert set(feeds) == {
        "as they are",
        "a third of the cells missing",
        "nothing for image",
        "nothing for text",
        "nothing for tabular",
        "all cells missing",
    }
    assert not feeds["nothing for image"]["image_valid"].any()
    assert np.isnan(feeds["nothing for tabular"]["tabular_numbers"]).all()
    assert (feeds["nothing for text"]["text_mask"].sum(axis=1) == 3).all()  # [CLS] [SEP] [SEP]
    assert not feeds["all cells missing"]["tabular_categories"].any()


def test_every_picture_counts_in_the_control_though_no_row_has_any():
    assert CASES.control()["image_valid"].all()
    assert Cases(exportable().pipeline, rows(0)).control()["image_valid"].all()


def test_texts_fill_the_longest_length():
    longest = [case.feed["text_mask"] for case in CASES if shapes(case.feed) == (2, 48)]
    assert longest[0].sum(axis=1).max() == 48


def test_no_row_has_an_empty_mask():
    assert all(case.feed["text_mask"].any(axis=1).all() for case in CASES)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_any_number_of_rows_will_do(count):
    cases = Cases(exportable().pipeline, rows(count))
    assert {len(case.feed["text_ids"]) for case in cases} == set(BATCHES)
