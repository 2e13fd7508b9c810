"""What every predictor offers, wherever its rows are answered: written here once, over ``run``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automm_serve import decisions
from automm_serve.answers import AnyAnswer, ClassesAnswer
from automm_serve.errors import ConfigError, DataError
from automm_serve.frames import (
    as_array,
    as_classes,
    as_frame,
    as_series,
    as_vectors,
    wants_pandas,
)
from automm_serve.labelled import compared, read_labelled
from automm_serve.pipeline import find_program
from automm_serve.predictions import Predictions, RowWarning, warn_of
from automm_serve.table import read_table
from automm_serve.tensors import Table

if TYPE_CHECKING:
    from automm_serve.metrics import MetricLike

__all__ = ["Predictions", "Predicts", "RowWarning"]


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

    @property
    def decision_threshold(self) -> float | None:
        """Of two classes, the probability from which on the second one is answered; else None."""
        answer = self.answers["predict"]
        if not isinstance(answer, ClassesAnswer) or len(answer.classes) != 2:
            return None
        return answer.threshold

    def predict(
        self,
        data: object,
        *,
        as_pandas: bool | None = None,
        decision_threshold: float | None = None,
        return_errors: bool = False,
        realtime: bool | None = False,
        image_root: str | Path | None = None,
    ) -> Any:
        """Return one class or one number a row.

        Args:
            data: Any form of table; the label may be absent.
            as_pandas: A Series with the index of ``data``, or an array. Where None: a Series
                for a DataFrame, else an array.
            decision_threshold: For these rows alone, in place of the model's.
            return_errors: Return ``(answers, errors)`` instead of a warning with the count.
            realtime: Taken for AutoGluon's sake; every answer here goes the quick way.
            image_root: Folder that relative picture paths start from.

        Returns:
            Array (rows,) or Series named as the label; NaN or None where a row failed.

        Raises:
            SchemaError: The table has not the columns of the model.
            DataError: It is not a table.
            ConfigError: The threshold is no probability, or there are not two classes.
        """
        found = self._ask(data, "predict", image_root, return_errors, decision_threshold)
        name = self.answers["predict"].columns[0].name
        cells = as_array(found.columns[name])
        result = as_series(cells, data, name) if wants_pandas(data, as_pandas) else cells
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
        table: Any = as_vectors(cells, len(answer.classes))
        if not as_multiclass and len(answer.classes) == 2:
            table = table[:, 1]
        if wants_pandas(data, as_pandas):
            table = as_classes(table, data, answer)
        return (table, found.errors) if return_errors else table

    def predict_from_proba(
        self, y_pred_proba: object, decision_threshold: float | None = None
    ) -> Any:
        """Return the classes of probabilities: what ``predict`` says of the same rows.

        Args:
            y_pred_proba: What ``predict_proba`` returned; of two classes also that of the second.
            decision_threshold: In place of the model's.

        Returns:
            A Series for pandas' types, else an array; None where a row has no probabilities.

        Raises:
            DataError: The model predicts no classes, or others.
            ConfigError: The threshold is no probability, or there are not two classes.
        """
        answer = _classes_of(self.answers["predict"])
        cells = as_array(decisions.named(answer, y_pred_proba, decision_threshold))
        if not hasattr(y_pred_proba, "index") or isinstance(y_pred_proba, Sequence):
            return cells
        return as_series(cells, y_pred_proba, answer.label)

    def calibrate_decision_threshold(
        self,
        data: object,
        metric: MetricLike | None = None,
        *,
        image_root: str | Path | None = None,
    ) -> float:
        """Return the threshold at which a metric is best on labelled rows; nothing is changed.

        Args:
            data: Any form of table, with the label; best rows that training has not seen.
            metric: Of the answers, not of probabilities; ``f1`` where None.
            image_root: Folder that relative picture paths start from.

        Raises:
            ConfigError: There are not two classes, or the metric does not depend on a threshold.
            SchemaError: The label or another column is absent.
            DataError: No row is left to compare.
        """
        from automm_serve.metrics import find_metric

        decisions.checked_threshold(self.answers["predict"], 0.5)
        chosen = find_metric(metric or "f1", "binary")
        if chosen.needs != "prediction":
            raise ConfigError(
                where=f"metric {chosen.name!r}",
                what="it reads probabilities, and no threshold changes it",
                mend="Pass a metric of the answers, such as f1, balanced_accuracy or mcc",
            )
        table = read_labelled(data, self.answers["predict"], image_root)
        found = self._ask(table, "predict", None, True)
        answer = _classes_of(self.answers["predict"])
        columns, labels = compared(table, found, answer)
        truth = answer.encode({answer.label: labels}, {})[0]["classes"]
        probabilities = as_vectors(columns[answer.probabilities_column], 2)
        return decisions.best_threshold(truth, probabilities, answer.classes, chosen)

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
        table: Any = as_vectors(found.columns["features"], answer.columns[0].width)
        if as_pandas:
            table = as_frame(table, data)
        return (table, found.errors) if return_errors else table

    def evaluate(
        self,
        data: object,
        metrics: MetricLike | Sequence[MetricLike] | None = None,
        *,
        decision_threshold: float | None = None,
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
            decision_threshold: For these rows alone, in place of the model's.
            return_pred: Return ``(scores, predictions)``.
            realtime: Taken for AutoGluon's sake; every answer here goes the quick way.
            image_root: Folder that relative picture paths start from.

        Returns:
            Metric name -> score.

        Raises:
            SchemaError: The label or another column is absent.
            DataError: No row is left to compare.
            ConfigError: There is no such metric, or the threshold is none.
        """
        from automm_serve import metrics as scores  # its libraries load only with the metrics

        table = read_labelled(data, self.answers["predict"], image_root)
        found = self._ask(table, "predict", None, True, decision_threshold)
        answer = self.answers["predict"]
        columns, truth = compared(table, found, answer)
        result = scores.score(metrics, answer, truth, columns)
        return (result, as_array(found.columns[answer.columns[0].name])) if return_pred else result

    def _ask(
        self,
        data: object,
        program: str,
        image_root: str | Path | None,
        quiet: bool,
        threshold: float | None = None,
    ) -> Predictions:
        """The answers, with their warnings; of ``predict`` at another threshold than its own."""
        if threshold is not None:  # before rows are asked
            decisions.checked_threshold(self.answers[program], threshold)
        found = self.run(read_table(data, image_root), program)
        if threshold is not None:
            answer = _classes_of(self.answers[program])
            vectors = as_vectors(found.columns[answer.probabilities_column], len(answer.classes))
            names = decisions.named(answer, vectors, threshold)
            columns = {**found.columns, answer.label: names}
            found = Predictions(columns, found.errors, found.warnings)
        warn_of(found, quiet)
        return found


def _classes_of(answer: AnyAnswer) -> ClassesAnswer:
    if isinstance(answer, ClassesAnswer):
        return answer
    raise DataError(
        where="predict_proba",
        what=f"the model predicts numbers for {answer.columns[0].name!r}, not classes",
        mend="Call predict",
    )
