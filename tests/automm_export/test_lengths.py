"""The two lengths of a GPU: every row fits, and no other pair pads less."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from automm_export.lengths import choose_lengths, gpu_lengths
from automm_export.warmup import padded_sizes
from tests.automm_export.tiny import exportable

SIZES = st.lists(st.integers(1, 512), min_size=1, max_size=8, unique=True).map(sorted)


def padding(sizes, needed):
    """Tokens that are run when each row is padded to the least of the sizes that holds it."""
    found = np.asarray(sizes)
    return int(found[np.searchsorted(found, needed)].sum())


@given(SIZES, st.data())
def test_every_row_fits_and_no_other_pair_pads_less(sizes, data):
    needed = data.draw(st.lists(st.sampled_from(sizes), min_size=1, max_size=30))
    chosen = choose_lengths(sizes, needed)
    assert chosen == tuple(sorted(set(chosen)))
    assert len(chosen) <= 2
    assert set(chosen) <= set(sizes)
    assert chosen[-1] == sizes[-1]
    best = min(padding(sorted({size, sizes[-1]}), needed) for size in sizes)
    assert padding(chosen, needed) == best


def test_rows_of_one_length_need_one_size_where_that_is_the_longest():
    assert choose_lengths((16, 32, 64), [64, 64]) == (64,)
    assert choose_lengths((16, 32, 64), [16] * 9 + [64]) == (16, 64)
    assert choose_lengths((16, 32, 64), [32] * 9 + [16]) == (32, 64)


def test_without_rows_the_middle_one_is_taken():
    assert choose_lengths((16, 32, 64, 128, 256), ()) == (64, 256)


def test_the_rows_of_a_model_choose_its_lengths():
    model = exportable()
    chosen = gpu_lengths(model.pipeline, model.calibration)
    assert list(chosen) == ["text_length"]
    needed = padded_sizes(model.pipeline, model.calibration)["text_length"]
    assert chosen["text_length"] == choose_lengths((16, 32, 48), needed)
    assert gpu_lengths(model.pipeline, {})["text_length"] == (32, 48)


def test_a_model_without_texts_has_none():
    model = exportable(parts=("image", "tabular"))
    assert gpu_lengths(model.pipeline, model.calibration) == {}
