"""What one cell means: whether it is a gap, how a category is spelt, which number it is.

Training, the offline bundle, the client and the server all ask here, so that ``3``, ``3.0`` and
``"3.0"`` are the same category whether they came from a DataFrame, a CSV file or a request.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, SupportsFloat

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

_MISSING_BYTES = frozenset(word.encode() for word in MISSING_WORDS)
_MISSING_TYPES = frozenset({"NAType", "NaTType"})  # of pandas, which is not imported here
_SECONDS_A_DAY = 86_400.0
_NUMERIC = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?")
_WHOLE = re.compile(r"-?(0|[1-9]\d*)")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[-+]\d\d:?\d\d)?")
_FIRST = frozenset("0123456789.+-TF")  # of every text that is respelt
_BOOLEANS = {"True": "true", "False": "false", "TRUE": "true", "FALSE": "false"}
_PLAIN = (float, int, np.floating, np.integer, np.bool_, type(None))


def is_gap(cell: object) -> bool:
    """Tell whether a cell is missing."""
    if isinstance(cell, str):
        return cell in MISSING_WORDS
    if cell is None:
        return True
    if isinstance(cell, float | np.floating | np.datetime64 | np.timedelta64):
        return bool(cell != cell)  # NaN and NaT differ from themselves
    if isinstance(cell, bytes):
        return cell in _MISSING_BYTES
    if isinstance(cell, Decimal):
        return cell.is_nan()
    return type(cell).__name__ in _MISSING_TYPES


def category_key(cell: object) -> str:
    """Spell a category in the only way that we know.

    Whole floats are written as digits, booleans as ``true`` and ``false``, moments in ISO form
    without a time of midnight, bytes are decoded; strings that spell a number, a boolean or a
    moment are written likewise, because a CSV file holds nothing else. ``"007"`` and other text
    stay as they are.

    Raises:
        ValueError: The cell is no category: infinite, nested, or not UTF-8.
    """
    if isinstance(cell, str):
        return _respell(str(cell))  # of a class of its own too, such as those of NumPy
    if isinstance(cell, bytes):
        return _respell(cell.decode())  # UnicodeDecodeError is a ValueError
    if isinstance(cell, bool | np.bool_):
        return "true" if cell else "false"
    if isinstance(cell, float | np.floating | Decimal):
        return _spell_float(cell)
    if isinstance(cell, date | np.datetime64):
        return _spell_moment(cell)
    if isinstance(cell, Collection | np.ndarray):
        raise ValueError("a category cannot be a list or a mapping")
    return _respell(str(cell))  # such as a period of pandas, which a file holds as text


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


def quote(cell: object) -> str:
    """Return a cell as a message shows it: short, whatever it is."""
    try:
        return reprlib.repr(cell)
    except ValueError:  # a whole number of more than 4300 digits
        return f"a long {type(cell).__name__}"


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
    """The whole column by numpy, where its cells are plain numbers, or text that spells them."""
    kinds = set(map(type, cells))
    try:
        if kinds <= {str, type(None)}:
            return _parse_at_once(cells)
        if all(issubclass(kind, _PLAIN) for kind in kinds):
            return np.array([np.nan if cell is None else cell for cell in cells], np.float64)
    except (ValueError, OverflowError):  # a word; a whole number of hundreds of digits
        return None
    return None


def _parse_at_once(cells: Sequence[Any]) -> NDArray[np.float64] | None:
    filled = [cell for cell in cells if cell is not None and cell not in MISSING_WORDS]
    numbers = np.array(list(map(float, filled)), np.float64)
    if np.isnan(numbers).any() or any("_" in cell for cell in filled):
        return None  # what float() reads and to_number() refuses
    values = np.full(len(cells), np.nan)
    values[[cell is not None and cell not in MISSING_WORDS for cell in cells]] = numbers
    return values


def _respell(text: str) -> str:
    if text[:1] not in _FIRST and not text[:1].isdecimal():
        return _utf8(text)
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[:1] in "0123456789.+-" and not _WHOLE.fullmatch(text) and _NUMERIC.fullmatch(text):
        if text[:1] == "0" and text[1:2].isdecimal():  # a code such as 007: its zeros matter
            return text
        number = float(text)
        return _spell_float(number) if math.isfinite(number) else text
    if text[:1].isdecimal() and _MOMENT.fullmatch(text):
        with suppress(ValueError):  # the 40th of May is a text
            return _spell_moment(datetime.fromisoformat(text))
    return _utf8(text)


def _utf8(text: str) -> str:
    text.encode()  # lone surrogates stand for bytes that are not UTF-8: UnicodeEncodeError
    return text


def _spell_float(number: float | np.floating | Decimal) -> str:
    if not math.isfinite(number):
        raise ValueError("not finite")
    if isinstance(number, Decimal):
        number = float(number)  # a whole number that a float cannot tell from its neighbours
    if isinstance(number, np.floating):
        number = float(str(number))  # 0.1 of 32 bits is 0.1, as every writer of files has it
    if number == int(number):
        return str(int(number))
    return str(number)


def _spell_moment(moment: date | np.datetime64) -> str:
    """A day without a time where it is midnight, as pandas writes such columns to files."""
    if isinstance(moment, np.datetime64):
        moment = moment.astype("datetime64[us]").item()
    if not isinstance(moment, date):  # numpy gives a number for years beyond 9999
        raise ValueError("not a date")
    if not isinstance(moment, datetime):
        return moment.isoformat()
    if moment.tzinfo is None and moment.time() == time():
        return moment.date().isoformat()
    return datetime.isoformat(moment, " ")  # not the nanoseconds of pandas: few files hold them


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
    if getattr(cell, "ndim", 0):  # numpy 1.26 would take the element of [1.0], numpy 2 refuses it
        raise ValueError("an array is not a number")
    try:
        return float(cell)
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None
