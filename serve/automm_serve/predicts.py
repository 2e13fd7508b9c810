"""What every predictor offers, wherever its rows are answered: written here once, over ``run``."""

from __future__ import annotations

import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from automm_serve.answers import AnyAnswer, ClassesAnswer
from automm_serve.errors import DataError, SchemaError, near_name
from automm_serve.pipeline import find_program
from automm_serve.table import read_table
from automm_serve.tensors import CellError, Table, count_rows, take_rows

if TYPE_CHECKING:
    from automm_serve.metrics import MetricLike


class RowWarning(UserWarning):
    """Some rows have no answer, or a column that may be absent is absent."""


class Predictions(Struct, frozen=True):
    """The answer to a table.

    Attributes:
        columns: Those of the program's answer, as many rows as were asked, in order; a gap
            (None) where a row failed.
        errors: One for each row that failed.
        warnings: One for each column that is absent and counts as gaps.
    """

    columns: Table
    errors: list[CellError]
    warnings: list[str]

    @property
    def failed(self) -> set[int]:
        """Positions of the rows without an answer."""
        return {error.row for error in self.errors}


class Predicts(ABC):
    """The calls of a predictor: trained, from a bundle, or behind a server."""

    @abstractmethod
    def run(self, table: Table, program: str = "predict") -> Predictions:
        """Answer every row of a table.

        Raises:
            SchemaError: The table has not the columns of the model, or there is no such program.
        """

    @property
    @abstractmethod
    def answers(self) -> Mapping[str, AnyAnswer]:
        """Program name -> what its answers mean.

        A served bundle may give way to another one while rows are asked, so that what was read
        before ``run`` may not fit what ``run`` gave: read it afterwards.
        """

    @property
    def class_labels(self) -> list[Any] | None:
        """The classes, in the order of the probabilities; None where there are none."""
        answer = self.answers["predict"]
        return list(answer.classes) if isinstance(answer, ClassesAnswer) else None

    def predict(
        self,
        data: object,
        *,
        as_pandas: bool | None = None,
        return_errors: bool = False,
        realtime: bool | None = False,
        image_root: str | Path | None = None,
    ) -> Any:
        """Return one class or one number a row.

        Args:
            data: Any form of table; the label may be absent.
            as_pandas: A Series with the index of ``data``, or an array. Where None: a Series
                for a DataFrame, else an array.
            return_errors: Return ``(answers, errors)`` instead of a warning with the count.
            realtime: Taken for AutoGluon's sake; every answer here goes the quick way.
            image_root: Folder that relative picture paths start from.

        Returns:
            Array (rows,) or Series named as the label; NaN or None where a row failed.

        Raises:
            SchemaError: The table has not the columns of the model.
            DataError: It is not a table.
        """
        found = self._ask(data, "predict", image_root, return_errors)
        name = self.answers["predict"].columns[0].name
        cells = _array(found.columns[name])
        result = _series(cells, data, name) if _wants_pandas(data, as_pandas) else cells
        return (result, found.errors) if return_errors else result

    def predict_proba(
        self,
        data: object,
        *,
        as_pandas: bool | None = None,
        as_multiclass: bool = True,
        return_errors: bool = False,
        realtime: bool | None = False,
        image_root: str | Path | None = None,
    ) -> Any:
        """Return the probability of each class.

        Args:
            data: Any form of table; the label may be absent.
            as_pandas: As in ``predict``; a DataFrame with one column a class.
            as_multiclass: Where False and there are two classes, only that of the second.
            return_errors: Return ``(answers, errors)`` instead of a warning with the count.
            realtime: Taken for AutoGluon's sake; every answer here goes the quick way.
            image_root: Folder that relative picture paths start from.

        Returns:
            float32 (rows, classes), NaN where a row failed; or (rows,).

        Raises:
            DataError: The model predicts no classes.
            SchemaError: The table has not the columns of the model.
        """
        _classes_of(self.answers["predict"])  # before rows are asked
        found = self._ask(data, "predict", image_root, return_errors)
        answer = _classes_of(self.answers["predict"])  # of the bundle that answered: see `answers`
        cells = found.columns[answer.probabilities_column]
        table: Any = _vectors(cells, len(answer.classes))
        if not as_multiclass and len(answer.classes) == 2:
            table = table[:, 1]
        if _wants_pandas(data, as_pandas):
            table = _frame(table, data, answer)
        return (table, found.errors) if return_errors else table

    def extract_embedding(
        self,
        data: object,
        *,
        as_pandas: bool = False,
        return_errors: bool = False,
        realtime: bool | None = False,
        image_root: str | Path | None = None,
    ) -> Any:
        """Return the features of each row.

        Args:
            data: Any form of table; the label may be absent.
            as_pandas: Return a DataFrame with the index of ``data``.
            return_errors: Return ``(features, errors)`` instead of a warning with the count.
            realtime: Taken for AutoGluon's sake; every answer here goes the quick way.
            image_root: Folder that relative picture paths start from.

        Returns:
            float32 (rows, width), NaN where a row failed.

        Raises:
            SchemaError: The table has not the columns of the model.
        """
        found = self._ask(data, "embed", image_root, return_errors)
        answer = find_program(self.answers, "embed")
        table: Any = _vectors(found.columns["features"], answer.columns[0].width)
        if as_pandas:
            table = _pandas().DataFrame(table, index=_index(data))
        return (table, found.errors) if return_errors else table

    def evaluate(
        self,
        data: object,
        metrics: MetricLike | Sequence[MetricLike] | None = None,
        *,
        return_pred: bool = False,
        realtime: bool | None = False,
        image_root: str | Path | None = None,
    ) -> Any:
        """Compare the answers with the label column of ``data``.

        Rows that failed, or whose label is missing, are left out, with a warning that says how
        many.

        Args:
            data: Any form of table, with the label.
            metrics: Names of metrics, or functions of one's own (``automm_serve.metrics.own``);
                the default of the problem type where None.
            return_pred: Return ``(scores, predictions)``.
            realtime: Taken for AutoGluon's sake; every answer here goes the quick way.
            image_root: Folder that relative picture paths start from.

        Returns:
            Metric name -> score.

        Raises:
            SchemaError: The label or another column is absent.
            DataError: No row is left to compare.
            ConfigError: There is no such metric.
        """
        from automm_serve import metrics as scores  # its libraries load only with the metrics

        answer = self.answers["predict"]
        table = read_table(data, image_root)
        label = answer.columns[0].name
        if label not in table:
            near = near_name(label, table)
            raise SchemaError(
                where="evaluate",
                what=f"the label column {label!r} is absent"
                + (f", there is {near!r}" if near else ""),
                mend="Pass a table that holds the true labels",
            )
        found = self._ask(table, "predict", None, True)
        answer = self.answers["predict"]
        _, unlabelled = answer.encode(table, {})
        left_out = found.failed | {error.row for error in unlabelled}
        rows = [row for row in range(count_rows(table)) if row not in left_out]
        if not rows:
            first = [*found.errors, *unlabelled]
            raise DataError(
                where="evaluate",
                what="no row has both an answer and a label"
                + (f": row {first[0].row}, {first[0].column!r}: {first[0].what}" if first else ""),
                mend="Pass rows with a label that the model can read",
            )
        if left_out:
            what = f"{len(left_out)} of {count_rows(table)} rows are left out of the evaluation"
            warnings.warn(what + _example([*found.errors, *unlabelled]), RowWarning, stacklevel=2)
        truth = [table[label][row] for row in rows]
        result = scores.score(metrics, answer, truth, take_rows(found.columns, rows))
        return (result, _array(found.columns[label])) if return_pred else result

    def _ask(
        self, data: object, program: str, image_root: str | Path | None, quiet: bool
    ) -> Predictions:
        found = self.run(read_table(data, image_root), program)
        for warning in found.warnings:
            warnings.warn(warning, RowWarning, stacklevel=3)
        if found.errors and not quiet:
            count = count_rows(found.columns)
            what = f"{len(found.errors)} of {count} rows have no answer"
            warnings.warn(what + _example(found.errors), RowWarning, stacklevel=3)
        return found


def _classes_of(answer: AnyAnswer) -> ClassesAnswer:
    if isinstance(answer, ClassesAnswer):
        return answer
    raise DataError(
        where="predict_proba",
        what=f"the model predicts numbers for {answer.columns[0].name!r}, not classes",
        mend="Call predict",
    )


def _example(errors: Sequence[CellError]) -> str:
    first = errors[0]
    return f", first row {first.row}, column {first.column!r}: {first.what}"


def _array(cells: Sequence[object]) -> NDArray[Any]:
    """An array of the cells; numbers are floats, so that NaN can stand where a row failed."""
    if any(isinstance(cell, str) for cell in cells):
        return np.array(cells, dtype=object)
    if any(cell is None for cell in cells):
        return np.array([np.nan if cell is None else cell for cell in cells], dtype=float)
    return np.array(cells)


def _vectors(cells: Sequence[Any], width: int) -> NDArray[np.float32]:
    table = np.full((len(cells), width), np.nan, np.float32)
    for row, cell in enumerate(cells):
        if cell is not None:
            table[row] = cell
    return table


def _wants_pandas(data: object, as_pandas: bool | None) -> bool:
    if as_pandas is not None:
        return as_pandas
    pandas = sys.modules.get("pandas")  # whoever passes a DataFrame has imported it
    return pandas is not None and isinstance(data, pandas.DataFrame)


def _pandas() -> Any:
    from automm_serve.optional import require

    return require("pandas", purpose="as_pandas=True")


def _index(data: object) -> Any:
    return getattr(data, "index", None) if hasattr(data, "columns") else None


def _series(cells: NDArray[Any], data: object, name: str) -> Any:
    return _pandas().Series(cells, index=_index(data), name=name)


def _frame(table: NDArray[np.float32], data: object, answer: ClassesAnswer) -> Any:
    if table.ndim == 1:
        return _pandas().Series(table, index=_index(data), name=answer.classes[1])
    return _pandas().DataFrame(table, index=_index(data), columns=list(answer.classes))
