"""Columns of text -> token ids and their mask.

Each column is tokenised apart; the fields are then joined, the longest shortened first until all
fit. Padding and truncation of the packaged tokenizer are switched off before it is stored: some
pad to 128 by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Literal, Self

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from tokenizers import Tokenizer

from automm_serve.cells import as_floats, category_key, is_gap, quote
from automm_serve.errors import BundleError
from automm_serve.processors.tokens import Tokens
from automm_serve.tensors import BATCH, Axis, CellError, Table, Tensors, TensorSpec

SHORTEST = 16
"""Smallest padded length; the others are its doubles, up to the limit."""


class Wording(Struct, frozen=True, forbid_unknown_fields=True):
    """How the cells of a column that holds no text are put into words; a gap is the empty text.

    Attributes:
        column: Its name.
        kind: ``number``: with three decimals; ``category``: by its key.
        template: ``direct``: that alone; ``list``: ``column: it``; ``text``: ``column is it``;
            ``latex``: ``it &``, as a cell of a table.
    """

    column: str
    kind: Literal["number", "category"]
    template: Literal["direct", "list", "text", "latex"] = "direct"

    def say(self, value: str) -> str:
        """Return the text of a cell with this value."""
        match self.template:
            case "list":
                return f"{self.column}: {value}"
            case "text":
                return f"{self.column} is {value}"
            case "latex":
                return f"{value} & "
        return value


class TextProcessor(
    Struct, frozen=True, dict=True, tag="text", forbid_unknown_fields=True, omit_defaults=True
):
    """Reads columns of text.

    Attributes:
        name: Begins the names of the tensors.
        columns: In the order in which they are joined.
        limit: Most tokens a row, special ones among them.
        start: Ids before the first field, ``[CLS]``.
        separator: Ids after a field that another follows, ``[SEP]``; none joins fields directly.
        end: Ids after the last field.
        pad: Id that fills a row up; its mask is 0.
        tokenizer: The ``tokenizer.json`` of the `tokenizers` library.
        wordings: Of those columns that hold numbers or categories.
    """

    name: str
    columns: tuple[str, ...]
    limit: int
    start: tuple[int, ...]
    separator: tuple[int, ...]
    end: tuple[int, ...]
    pad: int
    tokenizer: msgspec.Raw
    wordings: tuple[Wording, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what ``fit`` cannot have made; msgspec reports it with its place."""
        for wording in self.wordings:
            if wording.column not in self.columns:
                raise ValueError(f"{wording.column!r} has a wording, and is not read")
        if self._room < 1:
            raise ValueError(f"a limit of {self.limit} tokens leaves no room for {self.columns}")

    @classmethod
    def fit(
        cls,
        name: str,
        columns: Sequence[str],
        tokenizer_json: str,
        limit: int,
        *,
        insert_sep: bool = True,
    ) -> Self:
        """Take a tokenizer for these columns; the special ids are read off its own template.

        Args:
            name: Of the processor.
            columns: Columns of text, in the order in which they are joined.
            tokenizer_json: Content of a ``tokenizer.json``.
            limit: Most tokens a row.
            insert_sep: Put the tokenizer's separator between two fields.
        """
        tokenizer = Tokenizer.from_str(tokenizer_json)
        pad = (tokenizer.padding or {}).get("pad_id")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        start, end = _template(tokenizer)
        if pad is None:
            names = ("[PAD]", "<pad>", "<|padding|>", "<|endoftext|>", "</s>")
            found = (tokenizer.token_to_id(token) for token in names)
            pad = next((id_ for id_ in found if id_ is not None), 0)
        return cls(
            name,
            tuple(columns),
            limit,
            start,
            end if insert_sep else (),
            end,
            pad,
            msgspec.Raw(tokenizer.to_str().encode()),
        )

    def specs(self) -> tuple[TensorSpec, ...]:
        """Name the tensors that ``transform`` fills."""
        axis = Axis(f"{self.name}_length", self._sizes)
        return (
            TensorSpec(f"{self.name}_ids", "int32", (BATCH, axis)),
            TensorSpec(f"{self.name}_mask", "int32", (BATCH, axis)),
        )

    def transform(self, table: Table) -> tuple[Tensors, list[CellError]]:
        """Tokenise, shorten, join and pad.

        Returns:
            ``{name}_ids`` and ``{name}_mask`` int32 (rows, length), the mask 1 on tokens and 0 on
            padding, the length one of the sizes of the axis; and the cells that are no text,
            which stand there as empty.
        """
        errors: list[CellError] = []
        fields = [self._tokenise(column, table[column], errors) for column in self.columns]
        rows = [self._join(row) for row in zip(*fields, strict=True)]
        lengths = np.fromiter(map(len, rows), np.intp, len(rows))
        longest = int(lengths.max(initial=0))
        length = next(size for size in self._sizes if size >= longest)
        filled = np.arange(length) < lengths[:, None]
        ids = np.full(filled.shape, self.pad, np.int32)
        ids[filled] = np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum()))
        mask = filled.astype(np.int32)
        return {f"{self.name}_ids": ids, f"{self.name}_mask": mask}, errors

    @cached_property
    def vocabulary(self) -> int:
        """One more than the largest id that there can be."""
        framing = (self.pad, *self.start, *self.separator, *self.end)
        return max(self._tokens.count, *(id_ + 1 for id_ in framing))

    def needs(self, tensors: Tensors) -> dict[str, NDArray[np.intp]]:
        """Return the number of tokens of each row."""
        return {f"{self.name}_length": tensors[f"{self.name}_mask"].sum(axis=1, dtype=np.intp)}

    def _tokenise(
        self, column: str, cells: Sequence[object], errors: list[CellError]
    ) -> list[list[int]]:
        wording = next((found for found in self.wordings if found.column == column), None)
        texts = _read(column, cells, errors) if wording is None else _word(wording, cells, errors)
        return self._tokens.read(texts)

    def _join(self, fields: Sequence[list[int]]) -> list[int]:
        lengths = [len(field) for field in fields]
        if sum(lengths) > self._room:
            lengths = _fit_lengths(lengths, self._room)
        row = list(self.start)
        for i, (field, length) in enumerate(zip(fields, lengths, strict=True)):
            if i:
                row += self.separator
            row += field[:length]
        row += self.end
        return row

    @cached_property
    def _room(self) -> int:
        """Tokens that the fields of a row may have together."""
        joints = len(self.separator) * (len(self.columns) - 1)
        return self.limit - len(self.start) - joints - len(self.end)

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        sizes = []
        size = SHORTEST
        while size < self.limit:
            sizes.append(size)
            size *= 2
        return (*sizes, self.limit)

    @cached_property
    def _tokens(self) -> Tokens:
        try:
            return Tokens(Tokenizer.from_str(bytes(self.tokenizer).decode()), self.limit)
        except Exception as error:  # tokenizers raises no other class
            raise BundleError(
                where=f"processor {self.name!r}",
                what=f"its tokenizer is damaged: {error}",
                mend="Copy the folder anew from where it was made, or make it again",
            ) from error


def _read(column: str, cells: Sequence[object], errors: list[CellError]) -> list[str]:
    texts = [""] * len(cells)
    for row, cell in enumerate(cells):
        if is_gap(cell):
            continue
        try:
            texts[row] = category_key(cell)  # one spelling, so that a CSV file reads alike
        except ValueError:
            errors.append(CellError(row, column, f"{quote(cell)} is not UTF-8 text"))
    return texts


def _word(wording: Wording, cells: Sequence[object], errors: list[CellError]) -> list[str]:
    if wording.kind == "category":
        texts = _read(wording.column, cells, errors)
        return [wording.say(text) if text else "" for text in texts]
    values, bad = as_floats(cells)
    errors += [
        CellError(row, wording.column, f"{quote(cells[row])} is not a finite number") for row in bad
    ]
    return ["" if np.isnan(value) else wording.say(f"{value:.3f}") for value in values]


def _template(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that the tokenizer puts before and after one text."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    framed = tokenizer.encode("a", add_special_tokens=True).ids
    if not plain:
        return (), ()
    at = next(i for i in range(len(framed)) if framed[i : i + len(plain)] == plain)
    return tuple(framed[:at]), tuple(framed[at + len(plain) :])


def _fit_lengths(lengths: list[int], room: int) -> list[int]:
    """Shorten the longest field, token by token in effect, until all fit together.

    They do not fit as they are.
    """
    # Every field keeps at most `cap`: the largest cap that fits, found from the shortest up.
    left, cap = room, 0
    ascending = sorted(lengths)
    for i, length in enumerate(ascending):
        share = left // (len(ascending) - i)
        if length > share:
            cap = share
            break
        left -= length
    fitted = [min(length, cap) for length in lengths]
    spare = room - sum(fitted)
    for i, length in enumerate(lengths):  # the rest of the division goes to the first ones
        if spare and length > fitted[i]:
            fitted[i] += 1
            spare -= 1
    return fitted
