import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from automm.training.augment_pictures import (
    FITTED,
    OPERATIONS,
    TRANSFORMS,
    augment_pictures,
    read_transforms,
)
from automm_serve.errors import ConfigError


def pictures(rows=6, images=2, height=20, width=30):
    # A slope and noise, so that every operation has something to change.
    down, across = np.mgrid[0:height, 0:width]
    slope = np.stack([down * 7, across * 6, (down + across) * 3], axis=2)
    noise = np.random.default_rng(0).integers(0, 60, slope.shape)
    one = (slope + noise).astype(np.uint8)
    return np.broadcast_to(one, (rows, images, height, width, 3)).copy()


def changed(names, seed=0, **sizes):
    pixels = pictures(**sizes)
    valid = np.ones(pixels.shape[:2], np.float32)
    chances = [np.random.default_rng([seed, row]) for row in range(len(pixels))]
    augment_pictures(pixels, valid, read_transforms("x", names), chances)
    return pixels


@pytest.mark.parametrize("name", TRANSFORMS)
def test_pictures_are_changed_each_in_its_own_way_and_again_by_the_same_seed(name):
    found = changed([name], rows=16)
    assert (found != pictures(rows=16)).any()
    assert len(np.unique(found.reshape(16, -1), axis=0)) > 1
    np.testing.assert_array_equal(found, changed([name], rows=16))
    assert (found != changed([name], seed=1, rows=16)).any()


def test_a_row_is_changed_alike_whichever_rows_stand_beside_it():
    pixels = pictures()
    every = changed(["trivial_augment"])
    augment_pictures(
        alone := pixels[3:4].copy(),
        np.ones((1, 2), np.float32),
        read_transforms("x", ["trivial_augment"]),
        [np.random.default_rng([0, 3])],
    )
    np.testing.assert_array_equal(alone[0], every[3])


def test_where_there_is_no_picture_it_stays_black():
    valid = np.array([[0, 1], [0, 0]], np.float32)
    before = pictures(2) * valid[:, :, None, None, None].astype(np.uint8)
    pixels = before.copy()
    transforms = read_transforms("x", ["color_jitter(0.9, 0.9, 0.9)", "randaug(8, 30)"])
    augment_pictures(pixels, valid, transforms, [np.random.default_rng(i) for i in range(2)])
    assert (pixels[valid == 0] == 0).all()
    assert (pixels[0, 1] != before[0, 1]).any(), "the control: the picture beside them is changed"


@pytest.mark.parametrize("operation", OPERATIONS)
@given(level=st.floats(-1, 1))
@settings(max_examples=10, deadline=None)
def test_every_operation_takes_every_strength(operation, level):
    picture = Image.fromarray(pictures(1, 1)[0, 0])
    found = operation(picture, level)
    assert (found.size, found.mode) == (picture.size, "RGB")


@pytest.mark.parametrize("index", range(3, len(OPERATIONS)))
def test_without_strength_hardly_anything_changes(index):
    pixels = pictures(1, 1)[0, 0]
    found = np.asarray(OPERATIONS[index](Image.fromarray(pixels), 0.0), int)
    assert np.abs(found - pixels).max() <= 1
    most = np.asarray(OPERATIONS[index](Image.fromarray(pixels), 1.0), int)
    assert np.abs(most - pixels).max() > 10


def test_what_a_processor_does_is_not_done_again():
    assert read_transforms("x", FITTED) == ()
    np.testing.assert_array_equal(changed(FITTED), pictures())


def test_numbers_stand_behind_a_name():
    np.testing.assert_array_equal(changed(["affine(0, 0, 0)"]), pictures())
    np.testing.assert_array_equal(changed(["randaug(0, 9)"]), pictures())
    flipped = changed(["random_horizontal_flip(1)"])
    np.testing.assert_array_equal(flipped, pictures()[..., ::-1, :])
    np.testing.assert_array_equal(
        changed(["random_vertical_flip(1)"]), pictures()[:, :, ::-1, :, :]
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("trivial_augmnt", "'trivial_augment' is near"),
        ("resize_to_square", "same proportions"),
        ("randaug(1, 2, 3, 4)", "other numbers"),
        ("random_resize_crop(2)", "other numbers"),
        ("lambda x: x", "no transform"),
    ],
)
def test_an_unknown_transform_is_named(name, says):
    with pytest.raises(ConfigError, match=says):
        read_transforms("model.timm_image.train_transforms", [name])
