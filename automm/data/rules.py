"""The rules that say what a column is, in their order. The first one that knows decides.

They are AutoGluon's (``autogluon.multimodal`` 1.6.3), with its constants, save where those answer
wrongly in silence:

* Gaps say nothing about a kind. Pictures, words and values are counted over the cells that are
  filled, so that a column of pictures with 95 % gaps stays one, instead of becoming a category.
* What is a number by its type stays one, however few its values. A category would not know a
  house of seven rooms where training saw six, and would lose the order of the others.
* Digits as text, in a table that has types, are codes where they repeat (``"94110"``), and so they
  are anywhere with leading zeros (``"007"``): categories, not sizes.
* One bad cell in a hundred does not turn numbers into text: its row fails, the column stays.
* Texts that hardly ever repeat are text, though they be of one word (or of a script without
  blanks): as a category every row would be the unseen one.
* A text that repeats twenty times on average comes from a list, though its values be of three
  words: a category.
* In a small table 'few values' is a fourth of the rows, not a tenth.
* A column named like picture files that are not there is an error, not text.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from decimal import Decimal

import numpy as np

from automm.data.column import ColumnCells, ColumnReason, Rule, decoded, sample
from automm.data.picture_rules import (
    base64_pictures,
    hold_pictures,
    picture_paths,
    pictures_in_memory,
)

FEW_VALUES = 20
"""AutoGluon's: a category has fewer values than this."""

LEAST_WORDS = 3
"""AutoGluon's: a text has so many words on average."""

TEXT_SAMPLE = 5000
"""AutoGluon's: texts of which words are counted."""

LEAST_FRESH = 0.05
"""Distinct texts by texts; AutoGluon's 0.01 lets the 52 agencies of 2,487 jobs pass for prose."""

MOSTLY_FRESH = 0.5
"""Above it a category would mostly be unseen."""

MOST_BAD = 0.01
"""Of the cells of a column of numbers may hold none."""

_NEARLY = 0.1
_BOOLEANS = frozenset({"true", "false", "True", "False", "TRUE", "FALSE"})


def decide(column: ColumnCells) -> ColumnReason:
    """Return what a column is, by the first rule that knows.

    Raises:
        DataError: It is named like pictures, and their files are not there.
    """
    if column.types == {bytes} and not hold_pictures(column):
        column = decoded(column)
    return next(reason for rule in RULES if (reason := rule(column)))


def _empty(column: ColumnCells) -> ColumnReason | None:
    if column.filled:
        return None
    return column.decide(None, "all missing", "every cell is a gap")


def _constant(column: ColumnCells) -> ColumnReason | None:
    if len(column.values) > 1 or column.missing or len(column.cells) < 2:
        return None
    return column.decide(None, "constant", "every cell holds the same value")


def _foreign(column: ColumnCells) -> ColumnReason | None:
    """Lists, mappings, durations and all else that is neither a text nor a number."""
    foreign = [kind.__name__ for kind in column.types if not _is_plain(kind)]
    if not foreign:
        return None
    return column.decide(
        None,
        "foreign",
        f"it holds {', '.join(sorted(foreign))}, of which no picture, text, number or category "
        "is made",
        notice="ignored: write its cells as text or as numbers",
    )


def _is_plain(kind: type) -> bool:
    if issubclass(kind, np.timedelta64 | complex | np.complexfloating):
        return False
    return issubclass(kind, str | int | float | Decimal | date | np.generic)


def _documents(column: ColumnCells) -> ColumnReason | None:
    if not all(str(cell).lower().endswith(".pdf") for cell in sample(column.filled, 500)):
        return None
    return column.decide(
        None,
        "documents",
        "every cell ends with .pdf",
        notice="ignored: documents are not read; convert their pages to pictures",
    )


def _booleans(column: ColumnCells) -> ColumnReason | None:
    if not all(kind.__name__ in ("bool", "bool_") for kind in column.types) and not (
        column.written and column.values <= _BOOLEANS
    ):
        return None
    return column.decide("category", "booleans", "every cell is true or false")


def _codes(column: ColumnCells) -> ColumnReason | None:
    """Text of digits that repeats; in a file without types only leading zeros tell."""
    if not column.written or _too_bad(column) or not column.whole or _fresh(column):
        return None
    if column.untyped and not column.padded:
        return None
    why = "some begin with 0" if column.padded else "they are text, and they repeat"
    return column.decide("category", "codes", f"its numbers are codes: {why}")


def _numbers(column: ColumnCells) -> ColumnReason | None:
    if not column.measured and (_too_bad(column) or column.padded):
        return None
    bad = column.not_numbers
    notice = _describe_bad(column) if bad else _describe_index(column)
    return column.decide(
        "number",
        "numbers",
        f"{len(column.filled) - len(bad)} of {len(column.filled)} filled cells are numbers",
        subtype="date" if column.moments or _spells_dates(column) else "",
        counts={"bad": len(bad)},
        notice=notice,
    )


def _few_values(column: ColumnCells) -> ColumnReason | None:
    values = len(column.values) + bool(column.missing)
    limit = min(FEW_VALUES, len(column.cells) // 4)
    if values >= limit or column.unseen_in_valid:
        return None
    return column.decide(
        "category", "few values", f"{values} values, gaps counted as one, are fewer than {limit}"
    )


def _words(column: ColumnCells) -> ColumnReason | None:
    texts = [str(cell) for cell in sample(column.filled, TEXT_SAMPLE)]
    distinct = set(texts)
    words = round(sum(len(text.split()) for text in distinct) / len(distinct), 2)
    if words < LEAST_WORDS or len(distinct) <= LEAST_FRESH * len(texts):
        return None
    return column.decide(
        "text",
        "words",
        f"{words:.1f} words on average, {len(distinct)} of {len(texts)} texts are distinct",
        counts={"words": words},
    )


def _hardly_repeats(column: ColumnCells) -> ColumnReason | None:
    if not _fresh(column) or len(column.values) < FEW_VALUES:
        return None
    each_once = len(column.values) == len(column.filled)
    single = each_once and not any(len(str(cell).split()) > 1 for cell in column.values)
    return column.decide(
        "text",
        "hardly repeats",
        f"{len(column.values)} of {len(column.filled)} values are distinct: as a category every "
        "row would be an unseen one",
        notice="every cell is a word of its own: where it is an identifier, leave the column out"
        if single
        else _nearly_numbers(column),
    )


def _category(column: ColumnCells) -> ColumnReason | None:
    return column.decide(
        "category",
        "values repeat",
        f"{len(column.values)} distinct values, neither numbers nor texts of many words",
        notice=_nearly_numbers(column),
    )


RULES: tuple[Rule, ...] = (
    _empty,
    pictures_in_memory,
    picture_paths,
    base64_pictures,
    _constant,
    _foreign,
    _documents,
    _booleans,
    _codes,
    _numbers,
    _few_values,
    _words,
    _hardly_repeats,
    _category,
)
"""The last one knows everything."""


def _spells_dates(column: ColumnCells) -> bool:
    """Text that is a number only because a date is one: ``"2020-02-29"``, as files hold them."""
    if not column.written:
        return False
    for cell in sample(column.filled, 100):
        with suppress(ValueError):
            float(str(cell))
            return False
    return True


def _fresh(column: ColumnCells) -> bool:
    return len(column.values) > MOSTLY_FRESH * len(column.filled)


def _too_bad(column: ColumnCells) -> bool:
    """More cells hold no number than a column of numbers may have; numbers that repeat are codes.

    ``"40563", "1002A"``: where the numbers are codes too, no cell may be without one.
    """
    bad = len(column.not_numbers)
    return bad > MOST_BAD * len(column.filled) or bool(bad and column.whole and not _fresh(column))


def _describe_bad(column: ColumnCells) -> str:
    first = column.not_numbers[0]
    return (
        f"{len(column.not_numbers)} cells hold no finite number, and their rows will fail; the "
        f"first is row {column.rows[first]}, {_shorten(column.filled[first])}"
    )


def _describe_index(column: ColumnCells) -> str:
    """A notice for whole numbers that count the rows: they tell how the table was sorted."""
    if len(column.filled) < FEW_VALUES or len(column.values) < len(column.cells):
        return ""
    if not all(issubclass(kind, int) for kind in column.types):
        return ""
    whole = [value for value in column.values if isinstance(value, int)]  # all of them
    if max(whole) - min(whole) != len(whole) - 1:
        return ""
    return "it counts the rows: where it is their number, leave the column out"


def _nearly_numbers(column: ColumnCells) -> str:
    bad = column.not_numbers
    if column.padded or not 0 < len(bad) <= _NEARLY * len(column.filled):
        return ""
    return (
        f"all but {len(bad)} cells are numbers; the first that is none is row "
        f"{column.rows[bad[0]]}, {_shorten(column.filled[bad[0]])}. Where they are meant as "
        f"numbers, mend them, or pass column_types={{{column.name!r}: 'numerical'}}"
    )


def _shorten(cell: object) -> str:
    text = repr(cell)
    return text if len(text) <= 40 else f"{text[:39]}…"
