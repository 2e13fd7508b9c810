"""What a user passes to ``fit`` -> two tables of the schema's columns and the label."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from automm.data.infer import Understanding, check_rows, infer_schema
from automm.data.problem import find_label, infer_problem
from automm.data.split import choose_rows, split_rows
from automm_serve.cells import category_key, is_gap
from automm_serve.errors import DataError, SchemaError, near_name
from automm_serve.schema import Schema
from automm_serve.table import read_table
from automm_serve.tensors import FileTable, Table, count_rows, take_rows


class Split(Struct, frozen=True, kw_only=True):
    """How rows to validate on are got.

    Attributes:
        fraction: Share that is held out; AutoGluon's rule where None.
        seed: Of the choice.
        most: Most rows to validate on; chosen by the seed, as many of each class as there are.
    """

    fraction: float | None = None
    seed: int = 0
    most: int | None = None


class TrainingTables(Struct, frozen=True):
    """Rows to train and to validate on, and what was made of their columns.

    Attributes:
        train: Rows to train on.
        valid: Rows to validate on.
        understanding: Of the columns.
        positions: Of the training rows in the table that the user gave; None for all of it.
    """

    train: Table
    valid: Table
    understanding: Understanding
    positions: tuple[int, ...] | None = None


def read_training_tables(
    train_data: object,
    tuning_data: object | None,
    label: str,
    split: Split,
    *,
    problem_type: str | None = None,
    column_types: Mapping[str, str | None] | None = None,
    eval_metric: str | None = None,
    image_root: str | Path | None = None,
) -> TrainingTables:
    """Read, split and understand.

    Raises:
        DataError: A table cannot be read, or there is nothing to learn.
        SchemaError: The label, or a column of the training table, is absent.
        ConfigError: A column type, a problem type or a share is unknown or does not fit.
    """
    train = read_table(train_data, image_root)
    check_rows("training data", train)
    untyped = bool(getattr(train, "untyped", False))
    asked = problem_type or _asked(column_types, label)
    kind = problem_type
    ours = None
    if tuning_data is None:
        cells = find_label(train, label, untyped)
        kind = infer_problem(cells, asked, eval_metric).subtype
        stratify = kind != "regression"
        ours, theirs = split_rows(train[label], split.fraction, split.seed, stratify=stratify)
        valid: Table = take_rows(train, theirs)
        train = take_rows(train, ours)
    else:
        valid = read_table(tuning_data, image_root)
        check_rows("tuning_data", valid)
        if label not in valid:
            raise SchemaError(
                where="tuning_data",
                what=f"there is no label column {label!r}",
                mend="Pass a table with the label",
            )
    understanding = infer_schema(train, label, kind, column_types, valid, eval_metric)
    schema = understanding.schema
    stratify = understanding.problem_type != "regression"
    if tuning_data is not None:
        _check_tuning(valid, train, schema, label, classes=stratify)
    if split.most is not None and count_rows(valid) > split.most:
        chosen = choose_rows(valid[label], split.most, split.seed, stratify=stratify)
        valid = take_rows(valid, chosen)
    return TrainingTables(
        _conform(train, schema, label),
        _conform(valid, schema, label),
        understanding,
        None if ours is None else tuple(ours),
    )


def read_more_tables(
    train_data: object,
    tuning_data: object | None,
    known: Understanding,
    split: Split,
    *,
    classes: Collection[object] = (),
    image_root: str | Path | None = None,
) -> TrainingTables:
    """Read and split a table for a predictor that is trained already.

    Args:
        train_data: Any form of table.
        tuning_data: Rows to validate on; held out where None.
        known: What was made of the columns when it was trained.
        split: How rows to validate on are got.
        classes: Those that it knows; none where the label holds numbers.
        image_root: Folder that relative picture paths start from.

    Raises:
        DataError: A table cannot be read, or has classes that the predictor does not know.
        SchemaError: The label, or a column of the predictor, is absent.
    """
    label = str(known.label)
    train = read_table(train_data, image_root)
    tables = {"training data": train}
    if tuning_data is not None:
        tables["tuning_data"] = read_table(tuning_data, image_root)
    for where, table in tables.items():
        check_rows(where, table)
        if label not in table:
            raise SchemaError(
                where=where,
                what=f"there is no label column {label!r}",
                mend="Pass a table with the label",
            )
        unseen = sorted(_classes(table[label]) - _classes(list(classes))) if classes else []
        if unseen:
            raise DataError(
                where=f"{where}, label {label!r}",
                what=f"{unseen[0]!r} is none of the classes that the predictor knows, as "
                f"{len(unseen)} of the table are",
                mend="Drop those rows, or train a new predictor on all of the data",
            )
    ours = None
    if tuning_data is None:
        ours, theirs = split_rows(train[label], split.fraction, split.seed, stratify=bool(classes))
        valid: Table = take_rows(train, theirs)
        train = take_rows(train, ours)
    else:
        valid = tables["tuning_data"]
    if split.most is not None and count_rows(valid) > split.most:
        chosen = choose_rows(valid[label], split.most, split.seed, stratify=bool(classes))
        valid = take_rows(valid, chosen)
    return TrainingTables(
        _conform(train, known.schema, label),
        _conform(valid, known.schema, label),
        known,
        None if ours is None else tuple(ours),
    )


def _check_tuning(valid: Table, train: Table, schema: Schema, label: str, *, classes: bool) -> None:
    """Refuse a tuning table that is of another kind than the training table.

    Raises:
        SchemaError: A column is absent.
        DataError: The label has classes that no training row has.
    """
    absent = [column.name for column in schema.columns if column.name not in valid]
    if absent:
        near = near_name(absent[0], [name for name in valid if name not in train])
        raise SchemaError(
            where="tuning_data",
            what=f"column {absent[0]!r} is absent, as of {len(absent)} that training reads"
            + (f"; {near!r} is unknown" if near else ""),
            mend="Pass a table with the columns of the training table",
        )
    if not classes:
        return
    known = _classes(train[label])
    unseen = sorted(_classes(valid[label]) - known)
    if unseen:
        raise DataError(
            where=f"tuning_data, label {label!r}",
            what=f"{unseen[0]!r} is the class of no training row, as {len(unseen)} classes are",
            mend="Put rows of each class into the training table, or drop those rows",
        )


def _classes(cells: Sequence[object]) -> set[str]:
    found = set()
    for cell in cells:
        with suppress(ValueError):  # such rows are left out, and counted, when they are read
            if not is_gap(cell):
                found.add(category_key(cell))
    return found


def digest(table: Table) -> str:
    """Return the SHA-256 of a table's cells; what is only in memory counts by its type."""
    found = hashlib.sha256()
    for name, cells in table.items():
        found.update(f"\0{name}\0".encode(errors="surrogateescape"))
        for cell in cells:
            if isinstance(cell, bytes):
                found.update(cell)
            elif cell is None or isinstance(cell, str | int | float):
                found.update(repr(cell).encode(errors="surrogateescape"))
            else:
                found.update(type(cell).__name__.encode())
            found.update(b"\0")
    return found.hexdigest()


def _conform(table: Table, schema: Schema, label: str) -> Table:
    """The columns of the schema, picture paths under their root; and the label."""
    full, _ = schema.conform(table)
    untyped = bool(getattr(table, "untyped", False))  # the label's classes are typed by it
    return FileTable({**full, label: list(table[label])}, None, untyped)


def _asked(column_types: Mapping[str, str | None] | None, label: str) -> str | None:
    """The problem type that a column type of the label means; others are refused later."""
    meanings = {"numerical": "regression", "number": "regression"}
    meanings |= {"categorical": "classification", "category": "classification"}
    return meanings.get((column_types or {}).get(label) or "")
