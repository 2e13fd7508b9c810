"""A number a row."""

from __future__ import annotations

from automm.models.fused import build_fused
from automm.tasks.base import Task, serve_fused
from automm.training.losses import values_loss
from automm_serve.answers import ValuesAnswer

TASK = Task(
    answer=ValuesAnswer.fit,
    model=build_fused,
    loss=values_loss,
    serve=serve_fused,
    metrics=("rmse", "r2", "mae"),
)
