"""One of two classes a row: as several classes, scored by ranking."""

from __future__ import annotations

from dataclasses import replace

from automm.config.data import DataConfig
from automm.tasks import multiclass
from automm_serve.answers import AnyAnswer, ClassesAnswer
from automm_serve.errors import ConfigError, DataError
from automm_serve.tensors import Table

_PLAIN = DataConfig()


def _answer(label: str, table: Table, data: DataConfig = _PLAIN) -> AnyAnswer:
    answer = ClassesAnswer.fit(label, table)
    if len(answer.classes) > 2:
        raise DataError(
            where=f"label {label!r}",
            what=f"it has {len(answer.classes)} distinct values, problem_type is 'binary'",
            mend="Pass problem_type='multiclass', or none",
        )
    if data.pos_label is None:
        return answer
    try:
        return answer.with_last(data.pos_label)
    except ValueError as error:
        raise ConfigError(
            where="hyperparameter 'data.pos_label'",
            what=str(error),
            mend=f"Choose {answer.classes[0]!r} or {answer.classes[1]!r}",
        ) from None


TASK = replace(multiclass.TASK, answer=_answer, metrics=("roc_auc", "accuracy", "log_loss"))
