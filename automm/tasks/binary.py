"""One of two classes a row: as several classes, scored by ranking."""

from __future__ import annotations

from dataclasses import replace

from automm.tasks import multiclass
from automm_serve.answers import AnyAnswer, ClassesAnswer
from automm_serve.errors import DataError
from automm_serve.tensors import Table


def _answer(label: str, table: Table) -> AnyAnswer:
    answer = ClassesAnswer.fit(label, table)
    if len(answer.classes) > 2:
        raise DataError(
            where=f"label {label!r}",
            what=f"it has {len(answer.classes)} distinct values, problem_type is 'binary'",
            mend="Pass problem_type='multiclass', or none",
        )
    return answer


TASK = replace(multiclass.TASK, answer=_answer, metrics=("roc_auc", "accuracy", "log_loss"))
