"""How far a build is, out of the phases within phases that a builder reports."""

from __future__ import annotations

import threading
from collections.abc import Callable

from automm_export.engines.job import Event, Step

_SMALLEST = 0.01
"""A share that is worth telling of."""


class Progress:
    """Sums up the phases.

    Args:
        tell: Is told each hundredth.
        stop: When it is set, the next step asks the builder to end.
    """

    def __init__(self, tell: Callable[[Event], None], stop: threading.Event) -> None:
        self._tell, self._stop = tell, stop
        self._phases: dict[str, tuple[str | None, int, int]] = {}  # name -> parent, steps, done
        self._told = -1.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins, within another one or as the first."""
        self._phases[name] = (parent, max(1, steps), 0)
        self._say(name)

    def step(self, name: str, step: int) -> bool:
        """A step is done, counted from 0; return whether to go on."""
        if name in self._phases:
            parent, steps, _ = self._phases[name]
            self._phases[name] = (parent, steps, min(step + 1, steps))
            self._say(name)
        return not self._stop.is_set()

    def finish(self, name: str) -> None:
        """A phase ended, whole or not."""
        self._phases.pop(name, None)

    def _say(self, name: str) -> None:
        share = self._share()
        if share - self._told >= _SMALLEST:  # a later pass may begin at less: no bar goes back
            self._told = share
            self._tell(Step(share, name))

    def _share(self) -> float:
        """Steps of the outermost phase; of each one within it, its part of the step under way."""
        share, width = 0.0, 1.0
        parent: str | None = None
        for _ in range(len(self._phases)):
            inner = [(k, v) for k, v in self._phases.items() if v[0] == parent]
            if not inner:
                break
            parent, (_, steps, done) = inner[-1]
            share += width * done / steps
            width /= steps
        return min(share, 1.0)
