"""What a picture cell may be, and how its bytes become pixels.

A cell is a path, encoded bytes, base64 text, a PIL picture, an array, or a list of these; several
paths may stand in one text, with ``;`` between them. Where a table can hold no arrays (JSON,
Parquet), lists of lists of numbers are one. The kind is found anew for each cell: a model that was
trained on paths answers bytes.

Paths are opened here and nowhere else, in the process of whoever made the table: the server turns
every cell of a request into bytes before it comes near this file, and bytes are never a path.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from automm_serve.cells import is_gap, quote

FORMATS = tuple(
    plugin.format
    for plugin in (
        PngImagePlugin.PngImageFile,
        JpegImagePlugin.JpegImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
        PpmImagePlugin.PpmImageFile,
        IcoImagePlugin.IcoImageFile,
    )
)
"""Raster formats that Pillow decodes by itself. Not EPS and the like, which start programs."""

MAX_PIXELS = 89_478_485
"""Pictures of more pixels are taken for decompression bombs: Pillow's own limit, where it warns."""

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".ico"}
)
"""A text with one of these is taken for the path of a picture, there or not."""

_CHANNELS = (1, 3, 4)
_DEEPEST = 4

LONGEST_PATH = 4096
"""Letters beyond which a text is no path, but base64."""


def pictures_of(cell: object) -> list[object]:
    """Return the pictures of a cell, each in the form in which it was given; none for a gap.

    Raises:
        ValueError: The cell is no picture, nor a list of pictures.
    """
    cell = as_list(cell)
    if isinstance(cell, list | tuple):
        array = _array_of(cell)
        if array is not None:
            return [array]
        return [picture for part in cell for picture in _pictures_of_one(as_list(part))]
    return _pictures_of_one(cell)


def as_list(cell: object) -> object:
    """Return a list where pandas has made an array of what are no numbers."""
    return cell.tolist() if isinstance(cell, np.ndarray) and cell.dtype.kind in "OU" else cell


def _pictures_of_one(cell: object) -> list[object]:
    if isinstance(cell, Mapping):  # as the `datasets` library writes pictures to Parquet
        if cell and "bytes" not in cell and "path" not in cell:
            raise ValueError(
                f"a mapping without 'bytes' and 'path' is not a picture: {quote(cell)}"
            )
        content = cell.get("bytes")
        cell = cell.get("path") if is_gap(content) else content
    if isinstance(cell, bytes | bytearray | memoryview | Path | Image.Image | np.ndarray):
        return [cell]  # empty bytes too: they are a picture that cannot be decoded, not a gap
    if is_gap(cell):
        return []
    if isinstance(cell, list | tuple) and (array := _array_of(cell)) is not None:
        return [array]
    if isinstance(cell, str):
        return _split(cell)
    raise ValueError(f"{type(cell).__name__} is not a picture")


def _array_of(cell: Sequence[Any]) -> NDArray[Any] | None:
    """The array that lists of numbers spell; None where it is a list of something else.

    Numbers in two lists are grey, in three colours; three whose outer and inner sizes are those of
    no channels are several grey pictures.

    Raises:
        ValueError: The lists differ in length, or a whole number is no byte.
    """
    first, depth = as_list(cell), 0
    while isinstance(first, list | tuple | np.ndarray) and len(first) and depth < _DEEPEST:
        first, depth = as_list(first[0]), depth + 1
    if not isinstance(first, int | float | np.number) or depth not in (2, 3):
        return None
    try:
        array = np.array(_lists(cell))
    except ValueError:
        raise ValueError("lists of numbers that differ in length are no picture") from None
    if array.dtype.kind not in "uif":  # numbers and words: boxes with their labels
        return None
    if depth == 3 and array.shape[0] not in _CHANNELS and array.shape[-1] not in _CHANNELS:
        return None
    if np.issubdtype(array.dtype, np.integer):
        if array.min() < 0 or array.max() > 255:
            raise ValueError("whole numbers are a picture only from 0 to 255")
        return array.astype(np.uint8)
    return array


def _lists(cell: Any) -> Any:
    return [_lists(part) for part in cell] if isinstance(cell, list | tuple | np.ndarray) else cell


def encoded(picture: object) -> bytes:
    """Return the encoded bytes of one picture, for the wire and for golden rows.

    Pictures in memory are written as PNG, which loses nothing.

    Raises:
        ValueError: The file cannot be read, the base64 is none, or the array is no picture.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if isinstance(picture, Path):
        return _read(picture)
    if isinstance(picture, str):
        return _read(Path(picture)) if _is_path(picture) else decode_base64(picture)
    image = picture if isinstance(picture, Image.Image) else _from_array(picture)
    buffer = io.BytesIO()
    try:
        _upright(image).save(buffer, "PNG")
    except Exception as error:  # a picture that was opened, and is decoded only now
        raise _undecodable(error) from None
    return buffer.getvalue()


def decode_base64(text: str) -> bytes:
    """Return the bytes of base64 text, with or without a ``data:`` prefix.

    Raises:
        ValueError: It is not base64.
    """
    body = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(body.split()), validate=True)  # it may come in lines
    except (binascii.Error, ValueError):
        raise ValueError(f"{_shorten(text)} is neither a path nor base64") from None


def to_pixels(picture: object, height: int, width: int) -> NDArray[np.uint8]:
    """Decode one picture and fit it: shorter side to the size, then the centre is cut out.

    Turned as its EXIF says; transparency is laid on white.

    Args:
        picture: One of ``pictures_of``.
        height: Of the result, in pixels.
        width: Of the result, in pixels.

    Returns:
        uint8 (height, width, 3), RGB.

    Raises:
        ValueError: It cannot be decoded; the message says why.
    """
    if isinstance(picture, np.ndarray):
        picture = _from_array(picture)
    if not isinstance(picture, Image.Image):
        picture = encoded(picture)
    try:
        # No draft mode: the same picture in memory would then give other pixels than its file.
        image = picture if isinstance(picture, Image.Image) else _open(picture)
        return np.asarray(ImageOps.fit(_upright(image), (width, height), Image.Resampling.BICUBIC))
    except UnidentifiedImageError:  # its message is the address of our buffer
        raise ValueError(f"not a picture of a known kind ({', '.join(FORMATS)})") from None
    except Exception as error:  # decoders of hostile bytes raise whatever they stumble upon
        raise _undecodable(error) from None


def _undecodable(error: Exception) -> ValueError:
    return ValueError(f"not a picture that can be decoded: {str(error) or type(error).__name__}")


def _open(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width}x{image.height} pixels are more than {MAX_PIXELS}")
    return image


def _upright(image: Image.Image) -> Image.Image:
    """RGB, turned as its EXIF says; the picture itself where it is so already: copies cost."""
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return _plain(ImageOps.exif_transpose(image) if turned else image)


def _plain(image: Image.Image) -> Image.Image:
    """RGB; what shines through a transparent picture is white, as on paper."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):  # convert() would cut 16 bits off at 255
        image = Image.fromarray((np.asarray(image, np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _from_array(picture: Any) -> Image.Image:
    """Grey (h, w), or (h, w, 1|3|4) and (1|3|4, h, w): uint8, or floats from 0 to 1."""
    array = np.asarray(picture)
    if array.ndim == 3 and array.shape[0] in _CHANNELS and array.shape[2] not in _CHANNELS:
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min(initial=0) < 0 or array.max(initial=0) > 1:
            raise ValueError("an array of floats is a picture only from 0 to 1")
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if (
        array.dtype != np.uint8
        or array.size == 0
        or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4)))
    ):
        raise ValueError(f"an array {array.dtype} {array.shape} is not a picture")
    return Image.fromarray(array)


def _split(text: str) -> list[object]:
    if text.startswith("data:"):  # its own ';' parts nothing
        return [text]
    return [part.strip() for part in text.split(";") if part.strip()]


def _is_path(text: str) -> bool:
    """Base64 without a suffix is longer than any path, or it is not the name of a file."""
    if text.startswith("data:") or len(text) > LONGEST_PATH:
        return False
    return bool(Path(text).suffix) or is_file(text)


def is_file(path: str | Path) -> bool:
    """Tell whether a regular file is there; what cannot be the name of one is none."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # name too long; a zero byte
        return False


def _read(path: Path) -> bytes:
    try:
        if path.is_fifo():  # it would be waited on for ever
            raise ValueError("not a regular file")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{_shorten(str(path))}: {reason}") from None


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
