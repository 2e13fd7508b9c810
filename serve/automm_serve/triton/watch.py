"""The watch-dog: asks a served model a real row every few seconds, and mends it when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Protocol

from automm_serve.errors import AutoMMError


class Watched(Protocol):
    """What is watched: a ``TritonServer``."""

    def find_fault(self) -> str:
        """Ask a row; return what is wrong, or the empty text."""
        ...

    def repair(self) -> None:
        """Make it answer again, or raise."""
        ...


def watch(
    server: Watched,
    stop: Event,
    say: Callable[[str], None],
    *,
    every_s: float = 5.0,
    pause_s: float = 60.0,
) -> None:
    """Look after a server until ``stop`` is set.

    Readiness says nothing: a model whose stub died stays READY. So a row is asked.

    Args:
        server: To look after.
        stop: Ends the watch.
        say: Is told each fault and each repair, one line each.
        every_s: Between two rows.
        pause_s: Least time between two repairs, lest a fault that stays become a storm.
    """
    next_repair = 0.0
    told = ""
    while not stop.wait(every_s):
        fault = server.find_fault()
        if not fault:
            told = ""
            continue
        left_s = next_repair - time.monotonic()
        if left_s > 0:
            if fault != told:
                say(f"it fails again, next repair in {left_s:.0f} s: {fault}")
            told = fault
            continue
        next_repair = time.monotonic() + pause_s
        say(f"restarting the model, because: {fault}")
        try:
            server.repair()
            say("it answers again")
        except AutoMMError as error:
            say(f"it still fails: {error}")
