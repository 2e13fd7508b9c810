"""A table <-> the tensors of a request: `row`, one JSON object a row, and `images`, its pictures.

The client opens paths and encodes pictures; the server gets bytes and opens nothing. A cell means
the same on both sides, because each is spelt as `automm_serve.cells` reads it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from automm_serve.answers import AnyAnswer
from automm_serve.cells import category_key, is_gap, quote, to_number
from automm_serve.engines import Engine
from automm_serve.manifest import FOLDER_NAME
from automm_serve.pictures import decode_base64, encoded, pictures_of
from automm_serve.schema import Kind, Schema
from automm_serve.tensors import CellError, Table, Tensors, TensorSpec, count_rows

_SAFE_INTEGER = 2**63
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_WANTED = {"number": "a finite number", "category": "a category"}


class Facts(Struct, frozen=True):
    """The parameter `automm` of a model's configuration: all that a client needs of a bundle.

    Attributes:
        name: Of the model on Triton.
        problem_type: As AutoGluon calls it.
        schema: The columns that go in.
        answers: Program -> what turns its outputs into columns.
        bundle: Hash of what answers; equal for equal answers.
        max_batch: Most rows of one request.
    """

    name: str
    problem_type: str
    schema: Schema
    answers: dict[str, AnyAnswer]
    bundle: str
    max_batch: int


class GraphFacts(Struct, frozen=True):
    """One entry of the parameter `automm_graphs`: where NAME finds a graph, and what it is fed.

    Attributes:
        model: The graph's model on Triton and its folder beside NAME's. It ends in a hash of the
            content, so that an old NAME never meets a new graph.
        inputs: Tensors that go in.
        outputs: Tensors that come out.
        file: Name of the graph's file in the version folder of ``model``, for a target that runs
            it in NAME's own process: ``model.onnx``, ``model.int8.onnx``, ``model.fp16.rtx``.
        engine: What is known of that file, where it is an engine.
    """

    model: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    file: str = "model.onnx"
    engine: Engine | None = None

    def __post_init__(self) -> None:
        """Refuse a name that could lead out of the repository."""
        if not FOLDER_NAME.fullmatch(self.model):
            raise ValueError(f"{self.model!r} is no name of a model")
        if not _FILE_NAME.fullmatch(self.file):
            raise ValueError(f"{self.file!r} is no name of a graph's file")


def to_wire(schema: Schema, table: Table) -> tuple[Tensors, list[CellError]]:
    """Return the tensors of a request for a table that ``Schema.conform`` returned.

    Paths among the picture cells are opened here.

    Returns:
        ``row`` bytes (rows, 1) and, where a row has pictures, ``images`` bytes (rows, most
        pictures), filled up with empty ones; and the cells that cannot be sent, as gaps there.
    """
    rows: list[bytes] = []
    images: list[list[bytes]] = []
    errors: list[CellError] = []
    for row in range(count_rows(table)):
        pictures: list[bytes] = []
        cells: dict[str, object] = {}
        for column in schema.columns:
            cell = table[column.name][row]
            try:
                if column.kind == "image":
                    found = [encoded(picture) for picture in pictures_of(cell)]
                    pictures += found
                    cells[column.name] = len(found) or None
                else:
                    cells[column.name] = _to_json(column.kind, cell)
            except ValueError as error:
                errors.append(CellError(row, column.name, str(error)))
                cells[column.name] = None
        rows.append(msgspec.json.encode(cells))
        images.append(pictures)
    tensors = {"row": text_tensor(rows)}
    widest = max(map(len, images), default=0)
    if widest:
        filled = [[*pictures, *[b""] * (widest - len(pictures))] for pictures in images]
        tensors["images"] = np.array(filled, object)
    return tensors, errors


def from_wire(schema: Schema, tensors: Tensors) -> tuple[dict[str, list[object]], list[CellError]]:
    """Return the table that a request holds; what is hostile in it is an error of its row.

    A column in none of the rows is absent from the table, so that ``Schema.conform`` can say so.
    Picture cells come out as bytes, as a list of bytes, or as None: text is base64, never a path.
    """
    rows: list[dict[str, object]] = []
    errors: list[CellError] = []
    images = tensors.get("images")
    for i, text in enumerate(tensors["row"].reshape(-1)):
        sent = [] if images is None else list(images[i])
        try:
            row = _parse(text)
            left = _take_pictures(schema, i, row, sent, errors)
            if any(left):
                raise ValueError(f"{len(left)} pictures more were sent than its cells announce")
        except ValueError as error:
            errors.append(CellError(i, "", str(error)))
            row = dict.fromkeys((column.name for column in schema.columns), None)
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}, errors


def encode_row(schema: Schema, row: Mapping[str, object]) -> bytes:
    """Return the JSON object of one row, its pictures as base64; an absent cell is a gap.

    This is what plain HTTP sends, and a line of a bundle's golden rows.

    Raises:
        ValueError: A cell cannot be written; the message names its column.
    """
    cells: dict[str, object] = {}
    for column in schema.columns:
        cell = row.get(column.name)
        try:
            if column.kind == "image":
                found = [encoded(picture) for picture in pictures_of(cell)]  # msgspec: base64
                cells[column.name] = found[0] if len(found) == 1 else found or None
            else:
                cells[column.name] = _to_json(column.kind, cell)
        except ValueError as error:
            raise ValueError(f"column {column.name!r}: {error}") from None
    return msgspec.json.encode(cells)


def decode_row(schema: Schema, text: bytes) -> dict[str, object]:
    """Return the cells of one JSON object, pictures as bytes.

    Raises:
        ValueError: It is not an object, or a picture is not base64.
    """
    row = _parse(text)
    errors: list[CellError] = []
    _take_pictures(schema, 0, row, [], errors)
    if errors:
        raise ValueError(f"column {errors[0].column!r}: {errors[0].what}")
    return row


def text_tensor(cells: Iterable[bytes]) -> NDArray[Any]:
    """Return bytes (rows, 1), as Triton's BYTES tensors are in numpy."""
    return np.array([[cell] for cell in cells], object).reshape(-1, 1)


def _to_json(kind: Kind, cell: object) -> object:
    """What JSON can hold and `automm_serve.cells` reads as the same cell."""
    if is_gap(cell):
        return None
    if type(cell) is bool or (type(cell) is int and -_SAFE_INTEGER < cell < _SAFE_INTEGER):
        return cell
    if type(cell) is float and math.isfinite(cell):
        return cell
    try:
        if type(cell) is str:
            cell.encode()  # lone surrogates: UnicodeEncodeError
            return cell
        # The spelling of numpy's scalars, dates, bytes and the rest; JSON knows none of them.
        return to_number(cell) if kind == "number" else str(category_key(cell))
    except ValueError:
        wanted = _WANTED.get(kind, "UTF-8 text")
        raise ValueError(f"{quote(cell)} is not {wanted}") from None


def _parse(text: bytes) -> dict[str, object]:
    """The JSON object of a row.

    Raises:
        ValueError: It is none: malformed, 1e999, a lone surrogate, nested too deeply, not UTF-8.
    """
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the row is not a JSON object: {error}") from None


def _take_pictures(
    schema: Schema,
    i: int,
    row: dict[str, object],
    sent: Sequence[bytes],
    errors: list[CellError],
) -> Sequence[bytes]:
    """Put bytes into the picture cells of a row, and return those that no cell announced."""
    for column in schema.columns:
        if column.kind != "image" or column.name not in row:
            continue
        cell = row[column.name]
        try:
            if isinstance(cell, int) and not isinstance(cell, bool):
                if not 0 <= cell <= len(sent):
                    raise ValueError(f"{cell} pictures announced, {len(sent)} sent")
                found, sent = [bytes(picture) for picture in sent[:cell]], sent[cell:]
            else:
                found = _pictures_in_json(cell)
            row[column.name] = found[0] if len(found) == 1 else found or None
        except ValueError as error:
            errors.append(CellError(i, column.name, str(error)))
            row[column.name] = None
    return sent


def _pictures_in_json(cell: object) -> list[bytes]:
    if isinstance(cell, list):
        if any(isinstance(part, list) for part in cell):  # so deep that Python would give up
            raise ValueError("a list in a list is not a picture")
        return [picture for part in cell for picture in _pictures_in_json(part)]
    if is_gap(cell):
        return []
    if not isinstance(cell, str):
        raise ValueError(f"{quote(cell)} is neither base64 nor a number of pictures")
    try:
        return [decode_base64(cell)]
    except ValueError:
        raise ValueError(
            f"{quote(cell)} is not base64, and a server opens no path: send the bytes"
        ) from None
