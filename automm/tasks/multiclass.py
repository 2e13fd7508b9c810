"""One of several classes a row."""

from __future__ import annotations

from automm.models.fused import build_fused
from automm.tasks.base import Task, serve_fused
from automm.training.losses import classes_loss
from automm_serve.answers import ClassesAnswer

TASK = Task(
    answer=ClassesAnswer.fit,
    model=build_fused,
    loss=classes_loss,
    serve=serve_fused,
    metrics=("accuracy", "log_loss"),
)
