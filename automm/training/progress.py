"""One line that shows how training goes: epoch, metric, time left."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class TrainingProgress:
    """A progress bar on stderr, or nothing where it is not wanted."""

    def __init__(self, metric: str, *, shown: bool) -> None:
        self.metric = metric
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
            transient=False,
        )
        self._task = self._bar.add_task("preparing", total=None, note="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def step(self, done: int, total: int, epoch: int, epochs: int) -> None:
        """Show how many steps are done."""
        self._bar.update(
            self._task, completed=done, total=total, description=f"epoch {epoch}/{epochs}"
        )

    def scored(self, score: float, best: float) -> None:
        """Show the last and the best validation score."""
        self._bar.update(self._task, note=f"{self.metric} {score:.4f} (best {best:.4f})")

    def say(self, what: str) -> None:
        """Show another stage than an epoch."""
        self._bar.update(self._task, description=what)
