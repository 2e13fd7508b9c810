"""One table of pictures in every form that a table and a picture may have."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PICTURES = 5
ROWS = 8
TABLE_FORMS = ("columns", "records", "frame", "arrow", "parquet", "jsonl", "json", "csv", "tsv")

IN_MEMORY = {"columns", "records", "frame"}
TYPED = {*IN_MEMORY, "arrow", "parquet"}
PICTURE_FORMS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: str(path.name),
    "Path": lambda path: Path(path.name),
    "bytes": lambda path: path.read_bytes(),
    "base64": lambda path: base64.b64encode(path.read_bytes()).decode(),
    "data URI": lambda path: (
        "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    ),
    "mapping": lambda path: {"bytes": path.read_bytes(), "path": None},
    "PIL": lambda path: Image.open(io.BytesIO(path.read_bytes())),
    "array": lambda path: _pixels(path),
    "channels first": lambda path: _pixels(path).transpose(2, 0, 1),
    "numbers": lambda path: _pixels(path).tolist(),
}
HELD: dict[str, set[str]] = {
    "path": set(TABLE_FORMS),
    "Path": IN_MEMORY,
    "bytes": TYPED,
    "base64": set(TABLE_FORMS),
    "data URI": set(TABLE_FORMS),
    "mapping": TYPED,
    "PIL": IN_MEMORY,
    "array": IN_MEMORY,
    "channels first": IN_MEMORY,
    "numbers": {*TYPED, "jsonl", "json"},
}
"""Form of a picture -> the tables that can hold it; a CSV file has no bytes, JSON no PIL."""


def combinations() -> list[tuple[str, str]]:
    """Return every form of table with every form of picture that it can hold."""
    return [(table, form) for form in PICTURE_FORMS for table in TABLE_FORMS if table in HELD[form]]


def write_pictures(folder: Path) -> list[Path]:
    """Write some PNG files of unequal sizes."""
    paths = []
    for number in range(PICTURES):
        noise = np.random.default_rng(number).integers(0, 256, (12 + number, 15, 3), np.uint8)
        path = folder / f"picture {number}.png"
        Image.fromarray(noise).save(path)
        paths.append(path)
    return paths


def make_table(folder: Path, table: str, form: str) -> Any:
    """Return the table: ``front`` has no, one or two pictures in a cell, ``back`` none or one."""
    paths = sorted(folder.glob("picture *.png"))
    columns: dict[str, list[Any]] = {
        "front": list(_chosen(paths)),
        "back": [None if row % 4 == 2 else paths[row % PICTURES] for row in range(ROWS)],
        "title": [f"the {'red' if row % 2 else 'blue'} cat {row}" for row in range(ROWS)],
        "body": ["a very old dog", None] * (ROWS // 2),
        "age": [None if row == 5 else 20.5 + row for row in range(ROWS)],
        "size": [float(row % 7) for row in range(ROWS)],
        "colour": [["red", "blue", None, "unseen"][row % 4] for row in range(ROWS)],
    }
    return put_in_form(folder, table, form, columns)


def put_in_form(folder: Path, table: str, form: str, columns: dict[str, list[Any]]) -> Any:
    """Return the columns as such a table; a path becomes a picture, a list of them several.

    The pictures lie in ``folder``, where the file of a table is written too.
    """
    cell = PICTURE_FORMS[form]

    def made(content: Any) -> Any:
        if isinstance(content, list):
            return _several(table, [cell(path) for path in content])
        return cell(content) if isinstance(content, Path) else content

    held = {name: list(map(made, cells)) for name, cells in columns.items()}
    return _WRITERS[table](held, folder / f"table {form}.{table}")


def _pixels(path: Path) -> Any:
    """The colours of a picture; a palette's numbers mean nothing without the palette."""
    image = Image.open(path)
    return np.asarray(image.convert("RGBA") if image.mode in ("P", "LA") else image)


def _chosen(paths: list[Path]) -> Iterator[list[Path]]:
    for row in range(ROWS):
        yield [[], [paths[row % PICTURES]], paths[:2]][row % 3]


def _several(table: str, cells: list[Any]) -> Any:
    if table in ("csv", "tsv"):  # text: with ; between them, which a data URI has itself
        several = [cell.partition("base64,")[2] or cell for cell in cells]
        return cells[0] if len(cells) == 1 else ";".join(several) or None
    if table in ("arrow", "parquet"):  # a column has one type
        return cells or None
    return cells[0] if len(cells) == 1 else cells or None


def _as_frame(columns: dict[str, list[Any]], path: Path) -> Any:
    import pandas as pd

    return pd.DataFrame({name: pd.Series(cells) for name, cells in columns.items()})


def _as_arrow(columns: dict[str, list[Any]], path: Path) -> Any:
    import pyarrow as pa

    return pa.table(columns)


def _as_parquet(columns: dict[str, list[Any]], path: Path) -> Any:
    import pyarrow.parquet as pq

    pq.write_table(_as_arrow(columns, path), path)
    return path


def _as_records(columns: dict[str, list[Any]], path: Path) -> Any:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _as_jsonl(columns: dict[str, list[Any]], path: Path) -> Any:
    path.write_text("\n".join(map(json.dumps, _as_records(columns, path))))
    return path


def _as_json(columns: dict[str, list[Any]], path: Path) -> Any:
    path.write_text(json.dumps(columns))
    return path


def _as_csv(columns: dict[str, list[Any]], path: Path) -> Any:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerows([list(columns), *zip(*columns.values(), strict=True)])
    return path


_WRITERS: dict[str, Callable[[dict[str, list[Any]], Path], Any]] = {
    "columns": lambda columns, path: columns,
    "records": _as_records,
    "frame": _as_frame,
    "arrow": _as_arrow,
    "parquet": _as_parquet,
    "jsonl": _as_jsonl,
    "json": _as_json,
    "csv": _as_csv,
    "tsv": _as_csv,
}
