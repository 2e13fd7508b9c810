"""Is it a column of pictures? Judged by opening a sample of the cells that are not gaps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from automm.data.column import ColumnCells, ColumnReason, sample
from automm_serve.errors import DataError
from automm_serve.pictures import (
    FORMATS,
    LONGEST_PATH,
    SUFFIXES,
    as_list,
    decode_base64,
    encoded,
    is_file,
    pictures_of,
)

SAMPLE = 500
"""AutoGluon's: cells that are tried."""

LEAST_READABLE = 0.1
"""AutoGluon's: at most 90 % of the sample may fail to open."""

_NAMED_LIKE_FILES = 0.5
_SMALLEST = 8  # pixels of the shorter side, of pictures that are spelt as lists of numbers
_SHORTEST_BASE64 = 64  # the smallest PNG there is has 67 bytes, 92 letters
_BASE64 = re.compile(r"(data:[\w/+.-]+;base64,)?[A-Za-z0-9+/]{48,}")


def pictures_in_memory(column: ColumnCells) -> ColumnReason | None:
    """Encoded bytes, PIL pictures, arrays, and lists of any of them."""
    subtype = _form(column.filled[0])
    if subtype not in ("bytes", "PIL", "array"):
        return None
    return _judge(column, subtype) or column.decide(
        None,
        "not pictures",
        f"it holds {type(column.filled[0]).__name__}, and hardly any of them opens as a picture",
        notice="ignored: neither pictures, text, numbers nor categories",
    )


def hold_pictures(column: ColumnCells) -> bool:
    """Tell whether bytes are pictures; a picture may be text from end to end (plain PPM)."""
    return _judge(column, "bytes") is not None


def picture_paths(column: ColumnCells) -> ColumnReason | None:
    """Paths of pictures, several in a cell with ``;`` between them.

    Raises:
        DataError: The cells are named like pictures, and none of the files is there.
    """
    tried = sample(column.filled, SAMPLE)
    parts = [part for cell in tried for part in _parts(cell)]
    named = [part for part in parts if _suffix(part) in SUFFIXES]
    if not named and not any(is_file(part) for part in parts[:20]):
        return None
    if decided := _judge(column, "path"):
        return decided
    if len(named) < _NAMED_LIKE_FILES * max(len(parts), 1):
        return None
    raise DataError(
        where=f"column {column.name!r}",
        what=f"its cells are named like pictures, but hardly any of {len(parts)} tried can be "
        f"opened, {named[0]!r} for one",
        mend="Pass image_root (--image-root), the folder that they start from, or say what the "
        f"column is: column_types={{{column.name!r}: 'text'}}",
    )


def base64_pictures(column: ColumnCells) -> ColumnReason | None:
    """Pictures as base64 text, with or without a ``data:`` prefix."""
    first = column.filled[0]
    text = first[0] if isinstance(first, list | tuple) and first else first
    if not isinstance(text, str) or len(text) < _SHORTEST_BASE64 or not _BASE64.match(text):
        return None
    return _judge(column, "base64")


def picture_form(column: ColumnCells) -> str:
    """Return the sub-type of a column that is given as pictures; empty for a column of gaps."""
    if not column.filled:
        return ""
    form = _form(column.filled[0])
    return "base64" if form == "path" and base64_pictures(column) else form


def _judge(column: ColumnCells, subtype: str) -> ColumnReason | None:
    tried = sample(column.filled, SAMPLE)
    opened = sum(map(_opens, tried))
    if opened < LEAST_READABLE * len(tried) or not opened:
        return None
    failed = len(tried) - opened
    return column.decide(
        "image",
        "pictures",
        f"{opened} of {len(tried)} cells tried open as pictures",
        subtype=subtype,
        counts={"tried": len(tried), "opened": opened},
        notice=f"{failed} of {len(tried)} cells tried cannot be opened" if failed else "",
    )


def _form(cell: object) -> str:
    """The form of a picture cell, of the first picture where it is a list; empty for no form."""
    cell = as_list(cell)
    match cell:
        case [[*_], *_]:
            return "array" if _spells_picture(cell) else ""
        case [first, *_]:
            return _form(first)
        case {"bytes": bytes()}:
            return "bytes"
        case {"path": str()}:
            return "path"
        case bytes() | bytearray() | memoryview():
            return "bytes"
        case Image.Image():
            return "PIL"
        case np.ndarray():
            return "array"
        case str() | Path():
            return "path"
    return ""


def _spells_picture(cell: object) -> bool:
    """Tell whether lists of lists of numbers are a picture, and neither boxes nor vectors."""
    try:
        first = next(iter(pictures_of(cell)))
    except (ValueError, StopIteration):
        return False
    return isinstance(first, np.ndarray) and sorted(first.shape)[-2] >= _SMALLEST


def _opens(cell: object) -> bool:
    """Tell whether the first picture of a cell has a header that Pillow knows."""
    try:
        first = next(iter(pictures_of(cell)))
        return isinstance(first, Image.Image) or _has_header(first)
    except (ValueError, OSError, SyntaxError, StopIteration, Image.DecompressionBombError):
        return False


def _has_header(picture: Any) -> bool:
    if isinstance(picture, np.ndarray):
        return bool(encoded(picture))
    if isinstance(picture, bytes | bytearray | memoryview):
        source: Any = BytesIO(bytes(picture))
    elif is_file(picture):
        source = picture  # only the header is read, however large the file
    else:
        source = BytesIO(decode_base64(str(picture)))
    with Image.open(source, formats=FORMATS):
        return True


def _parts(cell: object) -> list[str]:
    """The texts of a cell that might be paths."""
    if isinstance(cell, Mapping):
        cell = cell.get("path")
    if isinstance(cell, list | tuple):
        return [part for inner in cell for part in _parts(inner)]
    if isinstance(cell, Path):
        return [str(cell)]
    if not isinstance(cell, str) or len(cell) > LONGEST_PATH or cell.startswith("data:"):
        return []
    return [part.strip() for part in cell.split(";") if part.strip()]


def _suffix(text: str) -> str:
    return Path(text).suffix.lower()
