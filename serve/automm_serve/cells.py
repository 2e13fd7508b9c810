"""What one cell means: whether it is a gap, how a category is spelt, which number it is.

Training, the offline bundle, the client and the server all ask here, so that ``3``, ``3.0`` and
``"3.0"`` are the same category whether they came from a DataFrame, a CSV file or a request.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import SupportsFloat

import numpy as np
from numpy.typing import NDArray

MISSING_WORDS = frozenset(
    {
        "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
        "<NA>", "N/A", "NA", "NULL", "NaN", "NaT", "None", "n/a", "nan", "null",
    }
)  # fmt: skip
"""A cell that is exactly one of these is a gap, in every form of table: the words of pandas'
``read_csv``, and NaT. Files have no other way to write a gap, and a table must not change its
meaning by being written to one."""

_MISSING_TYPES = frozenset({"NAType", "NaTType"})  # of pandas, which is not imported here
_SECONDS_A_DAY = 86_400.0
_NUMERIC = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?")
_WHOLE = re.compile(r"-?(0|[1-9]\d*)")
_BOOLEANS = {"True": "true", "False": "false", "TRUE": "true", "FALSE": "false"}


def is_gap(cell: object) -> bool:
    """Tell whether a cell is missing."""
    if cell is None:
        return True
    if isinstance(cell, str):
        return cell in MISSING_WORDS
    if isinstance(cell, float | np.floating | np.datetime64):
        return bool(cell != cell)  # NaN and NaT differ from themselves
    return type(cell).__name__ in _MISSING_TYPES


def category_key(cell: object) -> str:
    """Spell a category in the only way that we know.

    Whole floats are written as digits, booleans as ``true`` and ``false``, bytes are decoded;
    strings that spell a number or a boolean are written likewise, because a CSV file holds
    nothing else. ``"007"`` and other text stay as they are.

    Raises:
        ValueError: The cell is no category: infinite, nested, or not UTF-8.
    """
    if isinstance(cell, bytes):
        cell = cell.decode()  # UnicodeDecodeError is a ValueError
    if isinstance(cell, str):
        return _respell(cell)
    if isinstance(cell, bool | np.bool_):
        return "true" if cell else "false"
    if isinstance(cell, float | np.floating | Decimal):
        return _spell_float(cell)
    if isinstance(cell, Collection | np.ndarray):
        raise ValueError("a category cannot be a list or a mapping")
    return str(cell)


def to_number(cell: object) -> float:
    """Return the number that a cell holds, NaN for a gap.

    Strings are parsed; booleans are 1 and 0; dates, and strings in ISO form, are days since
    1970-01-01 (UTC where no zone is given): days, because float32 tells seconds since then apart
    only to two minutes.

    Raises:
        ValueError: It is no number, or not finite.
    """
    if is_gap(cell):
        return math.nan
    if isinstance(cell, bytes):
        cell = cell.decode()
    if isinstance(cell, str):
        number = _parse(cell.strip())
    elif isinstance(cell, date | np.datetime64):
        number = _days(cell)
    elif isinstance(cell, SupportsFloat):  # int, float, bool, Decimal, numpy's scalars
        number = _float(cell)
    else:
        raise ValueError("not a number")
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def as_floats(cells: Sequence[object]) -> tuple[NDArray[np.float32], list[int]]:
    """Return float32 (rows,), NaN for gaps and bad cells, and the rows of the bad cells.

    A cell is bad where it is no number, infinite, or beyond float32.
    """
    bad: list[int] = []
    values = _floats_at_once(cells)
    if values is None:
        values = np.full(len(cells), np.nan)
        for row, cell in enumerate(cells):
            try:
                values[row] = to_number(cell)
            except ValueError:
                bad.append(row)
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    bad = sorted({*bad, *np.flatnonzero(np.isinf(single)).tolist()})
    single[bad] = np.nan
    return single, bad


def _floats_at_once(cells: Sequence[object]) -> NDArray[np.float64] | None:
    """The whole column by numpy, where its cells are plain numbers: ten times as fast."""
    if not set(map(type, cells)) <= {float, int, bool, type(None)}:
        return None
    try:
        return np.array([np.nan if cell is None else cell for cell in cells], np.float64)
    except OverflowError:  # a whole number of hundreds of digits
        return None


def _respell(text: str) -> str:
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[:1] in "0123456789.+-" and not _WHOLE.fullmatch(text) and _NUMERIC.fullmatch(text):
        if text[:1] == "0" and text[1:2].isdecimal():  # a code such as 007: its zeros matter
            return text
        number = float(text)
        return _spell_float(number) if math.isfinite(number) else text
    text.encode()  # lone surrogates stand for bytes that are not UTF-8: UnicodeEncodeError
    return text


def _spell_float(number: float | np.floating | Decimal) -> str:
    if not math.isfinite(number):
        raise ValueError("not finite")
    if number == int(number):
        return str(int(number))
    return str(number if isinstance(number, np.floating) else float(number))


def _parse(text: str) -> float:
    if text in _BOOLEANS or text in ("true", "false"):
        return float(text.lower() == "true")
    if "_" not in text:  # float() reads 1_000, no file format does
        try:
            return float(text)
        except ValueError:
            pass
    try:
        return _days(datetime.fromisoformat(text))
    except ValueError:
        raise ValueError("not a number") from None


def _days(moment: date | np.datetime64) -> float:
    if isinstance(moment, np.datetime64):
        return float(moment.astype("datetime64[us]").astype(np.int64)) / 1e6 / _SECONDS_A_DAY
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp() / _SECONDS_A_DAY


def _float(cell: SupportsFloat) -> float:
    try:
        return float(cell)
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None
