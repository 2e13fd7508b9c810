"""Ctrl-C and SIGTERM while a model trains: finish the step, keep the best, save."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Notes a signal instead of dying of it; a second Ctrl-C is not noted but raised.

    Outside the main thread, where Python lets nobody listen to signals, it hears nothing.

    Attributes:
        heard: Name of the signal that has come.
    """

    def __init__(self) -> None:
        self.heard: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in _SIGNALS}
            self.listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Listen (again): Lightning puts a handler of its own in, which would swallow SIGTERM."""
        for number in self._before:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.heard is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.heard = signal.Signals(number).name
