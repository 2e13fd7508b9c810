"""What a user passes to ``fit`` -> two tables of the schema's columns and the label."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from automm.data.infer import Understanding, check_rows, infer_schema
from automm.data.problem import find_label, infer_problem
from automm.data.split import split_rows
from automm_serve.errors import SchemaError
from automm_serve.schema import Schema
from automm_serve.table import read_table
from automm_serve.tensors import FileTable, Table, count_rows, take_rows


class Split(Struct, frozen=True, kw_only=True):
    """How rows to validate on are got.

    Attributes:
        fraction: Share that is held out; AutoGluon's rule where None.
        seed: Of the choice.
        most: Most rows to validate on.
    """

    fraction: float | None = None
    seed: int = 0
    most: int | None = None


class TrainingTables(Struct, frozen=True):
    """Rows to train and to validate on, and what was made of their columns."""

    train: Table
    valid: Table
    understanding: Understanding


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
    if split.most is not None and count_rows(valid) > split.most:
        valid = take_rows(valid, range(split.most))
    understanding = infer_schema(train, label, kind, column_types, valid, eval_metric)
    schema = understanding.schema
    return TrainingTables(
        _conform(train, schema, label), _conform(valid, schema, label), understanding
    )


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
