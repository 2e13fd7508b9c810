"""The only reader of tables: whatever a person has becomes columns of cells.

``read_table`` takes a path of a file (CSV, TSV, JSON lines, JSON, Parquet), a DataFrame of pandas
or Polars, an Arrow table, a list of records, or a mapping of columns.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from automm_serve.cells import MISSING_WORDS, category_key, is_gap, to_number
from automm_serve.errors import DataError, SchemaError
from automm_serve.optional import require
from automm_serve.pictures import LONGEST_PATH, SUFFIXES, is_file
from automm_serve.tensors import FileTable, Table

__all__ = [
    "MISSING_WORDS",
    "category_key",
    "is_gap",
    "read_table",
    "to_number",
    "under_root",
]

_SINGLE_PRECISION = frozenset({"float", "float32", "float[pyarrow]"})
_BOM = b"\xef\xbb\xbf"


def read_table(source: object, image_root: str | Path | None = None) -> Table:
    """Return the columns of any form of table; cells are not changed.

    Args:
        source: Path of a ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson``, ``.json`` or ``.parquet``
            file; DataFrame; Arrow table; list of mappings; mapping of columns.
        image_root: Folder that relative picture paths start from. The folder of the file where
            the source is one, else the working directory.

    Raises:
        DataError: The file is not there or not a table, or the object is none.
        SchemaError: Two columns have one name, or columns differ in length.
    """
    root = Path(image_root) if image_root is not None else None
    if isinstance(source, str | Path):
        return _read_file(Path(source), root)
    if isinstance(source, FileTable):
        return source if root is None else FileTable(source, root, source.untyped)
    columns = _columns(source)
    if root is None:
        return columns
    return FileTable({name: list(cells) for name, cells in columns.items()}, root)


def under_root(table: Table, cells: Sequence[object]) -> list[object]:
    """Return picture cells with relative paths joined to the folder of the table's file."""
    root = getattr(table, "root", None)
    if root is None:
        return list(cells)
    return [_join(root, cell) for cell in cells]


def _join(root: Path, cell: object) -> object:
    if isinstance(cell, np.ndarray) and cell.dtype.kind in "OU":  # a list, as pandas reads it
        cell = cell.tolist()
    if isinstance(cell, list | tuple):
        return [_join_one(root, part) for part in cell]
    return _join_one(root, cell)


def _join_one(root: Path, cell: object) -> object:
    if isinstance(cell, Mapping) and isinstance(cell.get("path"), str):
        return {**cell, "path": str(root / cell["path"])}
    if isinstance(cell, Path):
        return root / cell
    if not isinstance(cell, str) or len(cell) > LONGEST_PATH:  # longer: base64
        return cell
    parts = [part.strip() for part in cell.split(";") if part.strip()]
    if parts and all(_names_picture(root, part) for part in parts):
        return ";".join(str(root / part) for part in parts)
    return cell


def _names_picture(root: Path, text: str) -> bool:
    return Path(text).suffix.lower() in SUFFIXES or is_file(root / text)


def _columns(source: Any) -> Table:
    """The columns of an object in memory, told by what it offers: its library is not imported."""
    if isinstance(source, Mapping):
        return _mapping(source)
    if hasattr(source, "column_names") and hasattr(source, "column"):  # Arrow
        _refuse_twins(source.column_names)
        return {name: _arrow_cells(source.column(name)) for name in source.column_names}
    if hasattr(source, "columns") and hasattr(source, "shape"):  # pandas, Polars
        names = [str(name) for name in source.columns]
        _refuse_twins(names)
        return {
            name: _cells(source[column].to_list(), source[column].dtype)
            for name, column in zip(names, source.columns, strict=True)
        }
    if isinstance(source, Sequence) and not isinstance(source, str | bytes):
        return _records(source, lambda row: f"row {row}")
    raise DataError(
        where="table",
        what=f"{type(source).__name__} is not a table",
        mend="Pass a path, a DataFrame, a list of records or a mapping of columns",
    )


def _mapping(source: Mapping[str, Any]) -> Table:
    columns: dict[str, list[object]] = {}
    for name, cells in source.items():
        if isinstance(cells, str | bytes | Mapping) or not isinstance(cells, Iterable):
            raise SchemaError(
                where=f"column {name!r}",
                what=f"{type(cells).__name__} is not a list of cells",
                mend="Pass each column as a list; for one row, pass a list of one record",
            )
        columns[str(name)] = _arrow_cells(cells) if hasattr(cells, "to_pylist") else list(cells)
    return columns


def _arrow_cells(column: Any) -> list[object]:
    return _cells(column.to_pylist(), column.type)


def _cells(cells: list[Any], dtype: object) -> list[object]:
    """Keep numbers of 32 bits such: 0.1 would be spelt 0.10000000149011612, and 0.1 in a file."""
    if str(dtype).lower() not in _SINGLE_PRECISION:
        return cells
    return [cell if is_gap(cell) else np.float32(cell) for cell in cells]


def _records(records: Sequence[object], place: Callable[[int], str]) -> Table:
    rows: list[Mapping[str, object]] = []
    for row, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise DataError(
                where=place(row),
                what=f"{type(record).__name__} is not a record",
                mend="Write each row as names and values, {'column': cell, …}",
            )
        rows.append(record)
    names = dict.fromkeys(name for record in rows for name in record)
    _refuse_twins([str(name) for name in names])  # 1 and "1"
    return {str(name): [record.get(name) for record in rows] for name in names}


def _refuse_twins(names: Iterable[str], where: str = "table") -> None:
    twins = [name for name, count in Counter(names).items() if count > 1]
    if twins:
        raise SchemaError(
            where=where,
            what=f"more than one column is called {twins[0]!r}",
            mend="Rename or drop the others",
        )


def _read_file(path: Path, root: Path | None) -> FileTable:
    reader = _READERS.get(path.suffix.lower())
    if not is_file(path):
        raise DataError(
            where=str(path), what="there is no such file", mend="Pass the path of a table"
        )
    if reader is None:
        raise DataError(
            where=str(path),
            what=f"{path.suffix or 'a file without suffix'} is not a kind of table that we read",
            mend=f"Pass a file of one of these kinds: {', '.join(_READERS)}",
        )
    try:
        columns = reader(path)
    except OSError as error:
        raise _not_a_table(path, error.strerror or str(error)) from error
    untyped = reader in (_read_csv, _read_tsv)
    return FileTable(
        {name: list(cells) for name, cells in columns.items()},
        path.resolve().parent if root is None else root,
        untyped,
    )


def _read_csv(path: Path, delimiter: str = ",") -> Table:
    csv.field_size_limit(sys.maxsize)  # base64 pictures are longer than the default of 128 kB
    # Bytes that are not UTF-8 become lone surrogates, and fail in their own row later.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            names = next(lines, [])
            rows = [row for row in lines if row]
        except csv.Error as error:
            raise _not_a_table(path, f"line {lines.line_num}: {error}") from error
    if not names or any("\0" in name for name in names):
        raise _not_a_table(path, "it has no line of column names")
    for name in names:
        if not name.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in name):
            raise _not_a_table(path, f"the column name {name!r} is not UTF-8")
    _refuse_twins(names, str(path))
    for number, row in enumerate(rows):
        if len(row) != len(names):
            what = f"row {number} has {len(row)} cells, the header has {len(names)}"
            raise _not_a_table(path, what)
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _read_tsv(path: Path) -> Table:
    return _read_csv(path, "\t")


def _read_jsonl(path: Path) -> Table:
    records = []
    for number, line in enumerate(path.read_bytes().removeprefix(_BOM).splitlines(), start=1):
        if line.strip():
            records.append(_decode_json(line, path, f"line {number}: "))
    return _records(records, lambda row: f"{path}, record {row}")


def _read_json(path: Path) -> Table:
    return _columns(_decode_json(path.read_bytes().removeprefix(_BOM), path))


def _decode_json(text: bytes, path: Path, place: str = "") -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:  # text that is not UTF-8 has a class of its own
        raise _not_a_table(path, f"{place}{error}") from error


def _read_parquet(path: Path) -> Table:
    parquet = require("pyarrow.parquet", purpose=f"reading {path}")
    try:
        # Not read_table: that needs the dataset module, and guesses partitions from the path.
        return _columns(parquet.ParquetFile(path).read())
    except (OSError, ValueError, NotImplementedError) as error:  # the bases of Arrow's own
        raise _not_a_table(path, str(error).rstrip(".")) from error


def _not_a_table(path: Path, what: str) -> DataError:
    return DataError(where=str(path), what=what, mend="Write the file anew, one record a row")


_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
}
