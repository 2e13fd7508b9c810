"""One of several classes a row."""

from __future__ import annotations

from automm.config.data import DataConfig
from automm.models.fused import build_fused
from automm.tasks.base import Task, serve_fused
from automm.training.losses import classes_loss
from automm_serve.answers import AnyAnswer, ClassesAnswer
from automm_serve.errors import ConfigError
from automm_serve.tensors import Table

_PLAIN = DataConfig()


def _answer(label: str, table: Table, data: DataConfig = _PLAIN) -> AnyAnswer:
    answer = ClassesAnswer.fit(label, table)
    if data.pos_label is not None:
        raise ConfigError(
            where="hyperparameter 'data.pos_label'",
            what=f"label {label!r} has {len(answer.classes)} classes, and no positive one",
            mend="Leave it out, or pass problem_type='binary'",
        )
    return answer


TASK = Task(
    answer=_answer,
    model=build_fused,
    loss=classes_loss,
    serve=serve_fused,
    metrics=("accuracy", "log_loss"),
)
