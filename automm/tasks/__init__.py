"""Tasks: one entry for each kind of problem that can be trained."""

from __future__ import annotations

from importlib import import_module

from automm.tasks.base import Task
from automm_serve.errors import unknown_name

TASKS = {
    "binary": "automm.tasks.binary",
    "multiclass": "automm.tasks.multiclass",
    "regression": "automm.tasks.regression",
}
"""Problem type -> the module whose ``TASK`` it is."""


def find_task(problem_type: str) -> Task:
    """Return the task of a problem type.

    Raises:
        ConfigError: There is no such problem type.
    """
    if problem_type not in TASKS:
        raise unknown_name("problem_type", problem_type, TASKS)
    task: Task = import_module(TASKS[problem_type]).TASK
    return task
