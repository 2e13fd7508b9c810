import numpy as np
import pytest

pytest.importorskip("torch")

from automm.data.rows import like_lengths, prepare_rows
from automm_serve.answers import ClassesAnswer
from automm_serve.errors import DataError
from automm_serve.processors import ImageProcessor, TabularProcessor
from tests.pets import pets

PLENTY = 1 << 30


def prepared(table, cache_bytes=PLENTY):
    processors = (
        ImageProcessor.fit("timm_image", table, ["photo"], 16, 16),
        TabularProcessor.fit("ft_transformer", table, ["weight"], ["city"]),
    )
    answer = ClassesAnswer.fit("kind", pets())
    return prepare_rows("training data", table, processors, answer, cache_bytes)


def test_a_batch_is_the_same_whether_pictures_are_kept_or_decoded_anew():
    kept, _ = prepared(pets())
    anew, _ = prepared(pets(), cache_bytes=0)
    rows = [5, 0, 17]
    for name, tensor in kept.batch(rows).tensors.items():
        np.testing.assert_array_equal(tensor, anew.batch(rows).tensors[name])


@pytest.mark.parametrize("cache_bytes", [0, PLENTY])
def test_bad_rows_are_left_out_and_listed(cache_bytes):
    table = pets()
    table["weight"][3] = float("inf")
    table["photo"][4] = b"no picture"
    table["kind"][5] = None
    rows, errors = prepared(table, cache_bytes)
    assert sorted((e.row, e.column) for e in errors) == [(3, "weight"), (4, "photo"), (5, "kind")]
    assert len(rows) == 87
    assert rows.table["age"] == [a for i, a in enumerate(table["age"]) if i not in (3, 4, 5)]
    assert (rows.targets["classes"] >= 0).all()


def test_more_than_a_tenth_of_bad_rows_is_no_accident():
    table = pets()
    table["weight"][:12] = ["heavy"] * 12
    with pytest.raises(DataError, match=r"12 of 90 rows .*column 'weight': 12 cells"):
        prepared(table)


def test_a_dropped_modality_looks_like_a_row_of_gaps():
    rows, _ = prepared(pets())
    batch = rows.batch([0, 1])
    dropped = rows.without(batch, {"timm_image": np.array([True, False])})
    assert dropped.tensors["timm_image_valid"][0] == 0
    assert (dropped.tensors["timm_image_pixels"][0] == 0).all()
    assert (dropped.tensors["timm_image_pixels"][1] == batch.tensors["timm_image_pixels"][1]).all()
    none = rows.without(batch, {"ft_transformer": np.array([True, True])})
    assert none.tensors["ft_transformer_numbers"].isnan().all()
    assert (none.tensors["ft_transformer_categories"] == 0).all()


def test_batches_hold_every_row_once_and_rows_of_like_length_together():
    lengths = np.random.default_rng(0).integers(1, 100, 1000).astype(np.intp)
    batches = list(like_lengths(lengths, 10, np.random.default_rng(0)))
    assert sorted(row for batch in batches for row in batch) == list(range(1000))
    spread = np.mean([np.ptp(lengths[batch]) for batch in batches])
    assert spread < 15, "of 99, what random batches have"
