"""Builds an engine in a process of its own.

A builder is a large library that may crash, or be killed for the memory that it takes. Here that is
an error like any other, and whatever was being written is removed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

import msgspec

from automm_export.engines.job import Done, Event, Failed, Job
from automm_export.engines.messages import to_error

PATIENCE_S = 10.0
"""Until a builder that was asked to end is ended: one step of TensorRT may take minutes."""

_TAIL = 400
"""Characters of what a builder printed before it crashed."""


def build_apart(job: Job, tell: Callable[[Event], None] = lambda event: None) -> Done:
    """Build one engine.

    Args:
        job: What to build.
        tell: Is told how far it is.

    Raises:
        ExportError: There is no engine, and no file; the message names the part of the model.
        KeyboardInterrupt: It was interrupted, and the builder has ended.
    """
    with (
        TemporaryFile() as printed,  # no pipe: nobody reads it until the builder has ended
        subprocess.Popen(
            [sys.executable, "-P", "-m", "automm_export.engines.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
        ) as process,
    ):
        try:
            found = _converse(process, job, tell)
        except BaseException:
            _end(process)
            Path(job.engine).unlink(missing_ok=True)
            raise
        if isinstance(found, Done):
            return found
        Path(job.engine).unlink(missing_ok=True)
        printed.seek(0)
        failed = found if isinstance(found, Failed) else _read_exit(process, printed.read())
    raise to_error(job, failed)


def _converse(
    process: subprocess.Popen[bytes], job: Job, tell: Callable[[Event], None]
) -> Event | None:
    """Hand the job over, pass on what is told, and return the last event."""
    found: Event | None = None
    if process.stdin and process.stdout:
        try:
            process.stdin.write(msgspec.json.encode(job) + b"\n")
            process.stdin.flush()
        except BrokenPipeError:  # it died before it had read the job: its exit says why
            with suppress(BrokenPipeError):  # closing flushes what is left, once more
                process.stdin.close()
        for line in process.stdout:
            found = msgspec.json.decode(line, type=Event)
            tell(found)
    process.wait()
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask by closing its input; the builder then cancels at its next step. Or end it."""
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(PATIENCE_S)
    except BaseException:  # a second Ctrl-C, too
        process.kill()
        process.wait()


def _read_exit(process: subprocess.Popen[bytes], printed: bytes) -> Failed:
    code = process.returncode
    if code == -signal.SIGKILL:
        return Failed("memory", "the system ended it")
    how = f"it crashed by signal {-code}" if code < 0 else f"it ended with {code}"
    tail = " ".join(printed.decode(errors="replace")[-_TAIL:].split())
    return Failed("other", f"{how}: {tail}" if tail else how)
