"""A number a row."""

from __future__ import annotations

from automm.config.data import DataConfig
from automm.models.fused import build_fused
from automm.tasks.base import Task, serve_fused
from automm.training.losses import values_loss
from automm_serve.answers import AnyAnswer, ValuesAnswer
from automm_serve.errors import ConfigError
from automm_serve.tensors import Table

_PLAIN = DataConfig()


def _answer(label: str, table: Table, data: DataConfig = _PLAIN) -> AnyAnswer:
    if data.pos_label is not None:
        raise ConfigError(
            where="hyperparameter 'data.pos_label'",
            what=f"label {label!r} holds numbers, and no classes",
            mend="Leave it out, or pass problem_type='binary'",
        )
    return ValuesAnswer.fit(label, table, data.label.numerical_preprocessing)


TASK = Task(
    answer=_answer,
    model=build_fused,
    loss=values_loss,
    serve=serve_fused,
    metrics=("rmse", "r2", "mae"),
)
