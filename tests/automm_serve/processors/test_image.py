from __future__ import annotations

import io
import warnings

import msgspec
import numpy as np
import pytest
from PIL import Image

from automm_serve.pictures import to_pixels
from automm_serve.processors.image import ImageColumn, ImageProcessor
from automm_serve.tensors import BATCH, TensorSpec
from automm_serve.threads import VARIABLE
from tests.automm_serve.samples import encode, pixels, png

TABLE: dict[str, list[object]] = {
    "front": [png(0), None, [png(1), png(2), png(3)]],
    "back": [[png(4), png(5)], png(6), None],
}


def fit(max_images: int = 2) -> ImageProcessor:
    return ImageProcessor.fit("image", TABLE, ["front", "back"], 8, 12, max_images=max_images)


def test_as_many_pictures_are_read_of_a_cell_as_training_had_up_to_the_limit():
    assert [column.images for column in fit(2).pictures] == [2, 2]
    assert [column.images for column in fit(4).pictures] == [3, 2]
    assert [column.images for column in fit(1).pictures] == [1, 1]


def test_cells_without_a_picture_or_that_are_none_count_as_one():
    table = {"a": [None, 3, object()], "b": []}
    processor = ImageProcessor.fit("image", table, ["a", "b"], 8, 8)
    assert [column.images for column in processor.pictures] == [1, 1]


def test_pictures_lie_in_the_order_of_the_columns_and_gaps_are_black_with_their_flag_at_zero():
    found, errors = fit(2).transform(TABLE)
    assert errors == []
    seeds = [[0, None, 4, 5], [None, None, 6, None], [1, 2, None, None]]
    for row, places in enumerate(seeds):
        for place, seed in enumerate(places):
            picture = found["image_pixels"][row, place]
            assert found["image_valid"][row, place] == (seed is not None)
            expected = 0 if seed is None else to_pixels(png(seed), 8, 12)
            np.testing.assert_array_equal(picture, np.broadcast_to(expected, picture.shape))


def test_the_specs_have_a_static_number_of_images_and_the_height_first():
    assert fit(2).specs() == (
        TensorSpec("image_pixels", "uint8", (BATCH, 4, 8, 12, 3)),
        TensorSpec("image_valid", "float32", (BATCH, 4)),
    )


@pytest.mark.parametrize("threads", ["1", "4"])
def test_a_bad_picture_empties_its_own_cell_and_is_named(threads, monkeypatch):
    monkeypatch.setenv(VARIABLE, threads)
    bad = [[png(0), b"no picture"], png(1), "absent.png"]
    found, errors = fit(2).transform({"front": bad, "back": [png(2)] * 3})
    assert [(error.row, error.column) for error in errors] == [(0, "front"), (2, "front")]
    assert "not a picture of a known kind" in errors[0].what
    assert "absent.png" in errors[1].what
    assert found["image_valid"].tolist() == [[0, 0, 1, 0], [1, 0, 1, 0], [0, 0, 1, 0]]
    assert not found["image_pixels"][0, :2].any()
    expected = to_pixels(png(2), 8, 12)
    for row in range(3):
        np.testing.assert_array_equal(found["image_pixels"][row, 2], expected)


def test_pictures_beyond_the_limit_are_not_even_opened():
    found, errors = fit(1).transform({"front": [[png(0), b"broken"]], "back": [None]})
    assert errors == []
    assert found["image_valid"].tolist() == [[1, 0]]


def test_threads_give_the_pixels_that_one_thread_gives(monkeypatch):
    table: dict[str, list[object]] = {
        "front": [png(i) for i in range(40)],
        "back": [None, png(1)] * 20,
    }
    monkeypatch.setenv(VARIABLE, "1")
    alone, _ = fit().transform(table)
    monkeypatch.setenv(VARIABLE, "8")
    together, _ = fit().transform(table)
    np.testing.assert_array_equal(alone["image_pixels"], together["image_pixels"])


def test_a_picture_that_is_opened_lazily_may_stand_in_many_rows(monkeypatch):
    # Pillow decodes at first use: two threads at one file gave broken pictures 20 times of 20.
    monkeypatch.setenv(VARIABLE, "8")
    content = encode(pixels(1, 400, 400))
    processor = ImageProcessor("image", 8, 8, (ImageColumn("a"),))
    expected = to_pixels(content, 8, 8)
    for _ in range(5):
        opened = Image.open(io.BytesIO(content))
        found, errors = processor.transform({"a": [opened] * 16})
        assert errors == []
        assert (found["image_pixels"] == expected).all()


def test_no_rows_give_empty_tensors():
    found, errors = fit().transform({"front": [], "back": []})
    assert found["image_pixels"].shape == (0, 4, 8, 12, 3)
    assert found["image_valid"].shape == (0, 4)
    assert errors == []


def test_a_number_of_pictures_that_no_fit_makes_is_refused_with_its_place():
    text = msgspec.json.encode(fit()).replace(b'"images":2', b'"images":0', 1)
    with pytest.raises(msgspec.ValidationError, match=r"'front'.*\$\.pictures\[0\]"):
        msgspec.json.decode(text, type=ImageProcessor)


@pytest.mark.real
def test_real_pictures_with_transparency_are_those_that_pillow_lays_on_white(real_data):
    parquet = pytest.importorskip("pyarrow.parquet")
    cells = parquet.ParquetFile(real_data("emoji")).read(["image"]).column(0).to_pylist()[:30]
    processor = ImageProcessor("image", 64, 64, (ImageColumn("image"),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, errors = processor.transform({"image": cells})
    assert errors == []
    for row, cell in enumerate(cells):
        picture = Image.open(io.BytesIO(cell)).convert("RGBA")
        assert picture.size == (64, 64)
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=picture)
        difference = found["image_pixels"][row, 0].astype(int) - np.asarray(white, int)
        assert abs(difference).max() <= 1  # paste and alpha_composite round apart
