from __future__ import annotations

import io
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from automm_serve.pictures import FORMATS, decode_base64, encoded, pictures_of, to_pixels
from tests.automm_serve.samples import base64_of, encode, pixels, png

SIZE = 16


def fit(image: Image.Image) -> np.ndarray:
    """What Pillow itself makes of an RGB picture."""
    return np.asarray(ImageOps.fit(image, (SIZE, SIZE), Image.Resampling.BICUBIC))


def flat(image: Image.Image) -> list[int]:
    """The colour of a picture of one colour, as it comes out."""
    found = to_pixels(encode(image), SIZE, SIZE).reshape(-1, 3)
    assert (found == found[0]).all()
    return [int(value) for value in found[0]]


# -- what a cell may be --------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [None, float("nan"), "", "NA", [], (), [None, ""], {}, ";"])
def test_a_gap_has_no_picture(cell):
    assert pictures_of(cell) == []


def test_paths_are_parted_at_semicolons_and_data_uris_are_not():
    assert pictures_of("a.png; b.png;") == ["a.png", "b.png"]
    uri = "data:image/png;base64,AAAA"
    assert pictures_of(uri) == [uri]
    assert pictures_of(["a.png;b.png", uri, None, b"x"]) == ["a.png", "b.png", uri, b"x"]


def test_empty_bytes_are_a_picture_that_fails_and_no_gap():
    assert pictures_of(b"") == [b""]
    with pytest.raises(ValueError, match="not a picture of a known kind"):
        to_pixels(b"", SIZE, SIZE)


@pytest.mark.parametrize("cell", [3, 2.5, True, object(), [3], [["a.png"]], [[[]]], {"bytes": {}}])
def test_what_is_no_picture_is_refused_by_its_type(cell):
    with pytest.raises(ValueError, match="is not a picture"):
        pictures_of(cell)


def test_a_list_that_is_nested_without_end_is_refused():
    cell: list[object] = []
    cell.append(cell)
    with pytest.raises(ValueError, match="list is not a picture"):
        pictures_of(cell)


# -- bytes and paths -----------------------------------------------------------------------------


def test_bytes_are_never_a_path(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png())
    with pytest.raises(ValueError, match="not a picture of a known kind"):
        to_pixels(str(path).encode(), SIZE, SIZE)
    assert encoded(str(path).encode()) == str(path).encode()


def test_a_pipe_is_not_waited_on(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match="not a regular file"):
        encoded(str(tmp_path / "a.png"))


def test_a_path_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "absent.png", str(tmp_path / "absent.png"), "nul\0.png", Path("\0")):
        with pytest.raises(ValueError, match=r"(No such file|null byte)"):
            to_pixels(path, SIZE, SIZE)
    with pytest.raises(ValueError, match="Is a directory"):
        to_pixels(tmp_path, SIZE, SIZE)


def test_the_message_about_a_path_can_be_written_whatever_its_letters():
    with pytest.raises(ValueError, match="No such file") as caught:
        to_pixels("\udcff" * 9 + ".png", SIZE, SIZE)
    str(caught.value).encode()


def test_a_file_without_a_suffix_is_opened(tmp_path, monkeypatch):
    (tmp_path / "picture").write_bytes(png())
    monkeypatch.chdir(tmp_path)
    assert encoded("picture") == png()


@given(st.text(st.characters(exclude_categories=[]), min_size=1))
def test_any_text_is_pictures_or_refused_and_nothing_else(text):
    try:
        for picture in pictures_of(text):
            to_pixels(picture, SIZE, SIZE)
    except ValueError as error:
        str(error).encode()


@given(st.binary(max_size=99), st.sampled_from(["", "data:image/png;base64,", "data:,"]))
def test_base64_is_decoded_with_and_without_a_prefix(content, prefix):
    assert decode_base64(prefix + base64_of(content)) == content


@pytest.mark.parametrize("text", ["a", "a-b_", "AAA=A", "é", "data:image/png;base64,é"])
def test_what_is_no_base64_is_refused(text):
    with pytest.raises(ValueError, match="neither a path nor base64"):
        decode_base64(text)


# -- pixels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(24, 24), (48, 20), (20, 48), (3, 200), (1, 1)])
def test_a_picture_is_fitted_as_pillow_fits_it(height, width):
    array = pixels(1, height, width)
    np.testing.assert_array_equal(to_pixels(encode(array), SIZE, SIZE), fit(Image.fromarray(array)))


def test_height_comes_before_width():
    assert to_pixels(png(), 8, 12).shape == (8, 12, 3)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "GIF", "ICO", "JPEG"])
def test_every_format_that_is_named_is_read(form):
    image = Image.fromarray(pixels(2, SIZE, SIZE)) if form != "GIF" else Image.new("P", (16, 16), 7)
    options = {"lossless": True} if form == "WEBP" else {}
    content = encode(image, form, **options)
    expected = fit(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(to_pixels(content, SIZE, SIZE), expected)
    if form in ("PNG", "BMP", "TIFF", "PPM", "WEBP"):
        np.testing.assert_array_equal(expected, pixels(2, SIZE, SIZE))
    assert form in FORMATS


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_says(orientation):
    image = Image.fromarray(pixels(3, 40, 24))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turns: dict[int, list[Image.Transpose]] = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_270],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_90],
    }
    for form in ("PNG", "JPEG"):
        content = encode(image, form, exif=exif)
        upright = Image.open(io.BytesIO(content)).convert("RGB")
        for turn in turns.get(orientation, []):
            upright = upright.transpose(turn)
        np.testing.assert_array_equal(to_pixels(content, SIZE, SIZE), fit(upright))
        opened = Image.open(io.BytesIO(content))
        np.testing.assert_array_equal(to_pixels(opened, SIZE, SIZE), fit(upright))
        again = to_pixels(encoded(opened), SIZE, SIZE)  # over the wire it is not turned twice
        np.testing.assert_array_equal(again, fit(upright))


def test_what_shines_through_is_white():
    assert flat(Image.new("RGBA", (20, 20), (0, 0, 255, 0))) == [255, 255, 255]
    assert flat(Image.new("RGBA", (20, 20), (0, 0, 255, 255))) == [0, 0, 255]
    assert flat(Image.new("RGBA", (20, 20), (0, 0, 255, 51))) == [204, 204, 255]  # a fifth
    assert flat(Image.new("LA", (20, 20), (0, 0))) == [255, 255, 255]
    palette = Image.new("RGB", (20, 20), "blue").quantize(4)
    clear = palette.getpixel((0, 0))
    assert to_pixels(encode(palette, "PNG", transparency=clear), SIZE, SIZE).min() == 255
    rgb = Image.new("RGB", (20, 20), (1, 2, 3))
    assert to_pixels(encode(rgb, "PNG", transparency=(1, 2, 3)), SIZE, SIZE).min() == 255


def test_grey_of_sixteen_bits_keeps_its_shades():
    ramp = np.arange(256, dtype=np.uint16).repeat(16 * 16).reshape(256, 16, 16) * 257
    for value in (0, 1, 100, 255):
        assert flat(Image.fromarray(ramp[value])) == [value] * 3
    wide = Image.fromarray(np.full((20, 20), 70_000, np.int32))
    assert to_pixels(encode(wide, "TIFF"), SIZE, SIZE).max() == 255


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "LAB", "RGB", "F", "I"])
def test_pictures_in_memory_of_any_mode_are_read(mode):
    assert to_pixels(Image.new(mode, (20, 20)), SIZE, SIZE).shape == (SIZE, SIZE, 3)


def test_a_jpeg_of_printing_inks_is_read_in_its_colours():
    content = encode(Image.new("CMYK", (24, 24), (255, 0, 0, 0)), "JPEG")
    red, green, blue = to_pixels(content, SIZE, SIZE)[8, 8]
    assert red < 10
    assert green > 245
    assert blue > 245


def test_of_a_moving_picture_the_first_frame_is_read():
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime", "blue")]
    for form in ("GIF", "WEBP", "TIFF", "PNG"):
        content = encode(frames[0], form, save_all=True, append_images=frames[1:])
        assert to_pixels(content, SIZE, SIZE)[8, 8].tolist() == pytest.approx([255, 0, 0], abs=4)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((20, 20), 7, np.uint8), [7, 7, 7]),
        (np.full((20, 20, 1), 7, np.uint8), [7, 7, 7]),
        (np.full((1, 20, 20), 7, np.uint8), [7, 7, 7]),
        (np.full((20, 20), True), [255, 255, 255]),
        (np.full((20, 20), 0.5, np.float32), [128, 128, 128]),
        (np.full((20, 20, 3), 1.0, np.float64), [255, 255, 255]),
        (np.full((20, 20, 4), 0, np.uint8), [255, 255, 255]),
        (np.full((4, 20, 20), 0, np.uint8), [255, 255, 255]),
    ],
    ids=lambda value: str(getattr(value, "shape", "")),
)
def test_an_array_is_read_in_each_of_its_layouts(array, expected):
    assert to_pixels(array, SIZE, SIZE)[3, 4].tolist() == expected


@pytest.mark.parametrize(
    "array",
    [
        np.full((20, 20, 3), 255.0),
        np.full((20, 20, 3), -0.1),
        np.full((20, 20, 3), np.nan),
        np.zeros((20, 20, 3), np.int64),
        np.zeros((20, 20, 2), np.uint8),
        np.zeros((2, 20, 20, 3), np.uint8),
        np.zeros(20, np.uint8),
        np.zeros((), np.uint8),
        np.zeros((0, 20, 3), np.uint8),
        np.zeros((20, 0), np.float32),
        np.zeros((20, 20), complex),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_that_is_no_picture_is_refused(array):
    with pytest.raises(ValueError, match="picture"):
        to_pixels(array, SIZE, SIZE)


def test_a_picture_in_memory_is_not_changed():
    image = Image.fromarray(pixels(4, 40, 24))
    exif = image.getexif()
    exif[0x0112] = 6
    before = image.tobytes()
    to_pixels(image, SIZE, SIZE)
    assert image.tobytes() == before
    assert image.getexif()[0x0112] == 6


# -- hostile and broken files --------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is as large as this."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 60_000, 2**31 - 1])
def test_a_header_that_promises_too_many_pixels_is_refused_before_they_are_made(side):
    with pytest.raises(ValueError, match="pixels"):
        to_pixels(png_header(side, side), SIZE, SIZE)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.mark.parametrize(
    "content", [POSTSCRIPT, SVG, b"%PDF-1.7\n", b"\0" * 99, b"GIF", b"text"], ids=repr
)
def test_formats_that_start_programs_and_what_is_no_picture_are_refused(content):
    with pytest.raises(ValueError, match=r"not a picture of a known kind \(PNG, JPEG,"):
        to_pixels(content, SIZE, SIZE)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_file_that_breaks_off_is_refused_with_a_reason(form, kept):
    image = Image.fromarray(pixels(5, 64, 64))
    content = encode(image.convert("P") if form == "GIF" else image, form)
    with pytest.raises(ValueError, match=r"not a picture .*\w"):
        to_pixels(content[: int(len(content) * kept)], SIZE, SIZE)


@given(st.data(), st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF"]))
def test_flipped_bytes_give_pixels_or_a_reason_and_nothing_else(data, form):
    content = bytearray(encode(Image.fromarray(pixels(6, 20, 20)), form))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        assert to_pixels(bytes(content), SIZE, SIZE).shape == (SIZE, SIZE, 3)


# -- the bytes of a picture ----------------------------------------------------------------------


def test_the_bytes_of_a_file_are_sent_as_they_are(tmp_path):
    path = tmp_path / "a.jpg"
    content = encode(pixels(), "JPEG")
    path.write_bytes(content)
    for picture in (content, bytearray(content), path, str(path), base64_of(content)):
        assert encoded(picture) == content


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "I;16"])
def test_a_picture_in_memory_is_written_without_loss(mode):
    if mode == "I;16":
        image = Image.fromarray(pixels(8, 24, 24)[:, :, 0].astype(np.uint16) * 256)
    else:
        image = Image.fromarray(pixels(8)).convert(mode)
    found = to_pixels(encoded(image), SIZE, SIZE)
    np.testing.assert_array_equal(found, to_pixels(image, SIZE, SIZE))


def test_a_mapping_that_is_no_picture_is_not_taken_for_a_gap():
    assert pictures_of({"bytes": None, "path": None}) == []
    with pytest.raises(ValueError, match="without 'bytes' and 'path'"):
        pictures_of({"url": "https://example.org/cat.png"})


def test_a_truncated_picture_that_was_opened_already_is_told_before_it_is_sent():
    opened = Image.open(io.BytesIO(png()[:300]))
    with pytest.raises(ValueError, match="not a picture that can be decoded"):
        encoded(opened)
