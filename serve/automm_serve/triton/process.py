"""The server's process with all that belongs to it: its session, its shared memory, its log."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from automm_serve.errors import ServerError
from automm_serve.threads import TOKENIZER_VARIABLE, VARIABLE, thread_budget
from automm_serve.triton.locate import ServerParts
from automm_serve.triton.log import explain

_SHM = Path("/dev/shm")


class ServerProcess:
    """One `tritonserver`; nothing of it is left after ``end``.

    Args:
        parts: Where the server lies.
        log_path: Where it writes.
        exit_timeout_s: That requests under way have when it ends.
        variables: Of its environment, beside those that every server gets.
    """

    def __init__(
        self,
        parts: ServerParts,
        log_path: Path,
        exit_timeout_s: int,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.parts = parts
        self.log_path = log_path
        self._exit_timeout_s = exit_timeout_s
        self._variables = dict(variables or {})
        self._shm_prefix = f"automm_{secrets.token_hex(4)}_"
        self._live: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id, while it runs."""
        return self._live.pid if self._live is not None and self._live.poll() is None else None

    def start(self, flags: Sequence[str]) -> None:
        """Start it; it is not ready yet.

        Raises:
            ServerError: The program or the log cannot be opened.
        """
        command = [
            str(self.parts.binary),
            *flags,
            f"--exit-timeout-secs={self._exit_timeout_s}",
            f"--backend-config=python,shm-region-prefix-name={self._shm_prefix}",
        ]
        try:
            with self.log_path.open("wb") as log:
                # A session of its own: Ctrl-C in the terminal reaches this process, which ends
                # that one in order.
                self._live = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env=self._variables | environment(self.parts),
                )
        except OSError as error:
            raise ServerError(
                where=str(error.filename or self.parts.binary),
                what=f"it cannot be opened: {error.strerror}",
                mend="Check the path, and that you may use it",
            ) from error

    def wait_until(self, is_ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until it is ready.

        Raises:
            ServerError: It ends before, or takes too long; the message holds the cause.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            fault = self.fault()
            if fault:
                raise self._failure(fault)
            if is_ready():
                return
            time.sleep(0.05)
        raise self._failure(f"it is not ready after {timeout_s:g} s: {explain(self.log_path)}")

    def fault(self) -> str:
        """Return why it does not run; the empty text while it does."""
        if self._live is None:
            return "the server was not started"
        code = self._live.poll()
        if code is None:
            return ""
        return f"the server ended with {code}: {explain(self.log_path)}"

    def stubs(self, model: str) -> set[int]:
        """Return the processes that run a Python model now, one that drains among them."""
        found = set()
        for folder in Path("/proc").glob("[0-9]*") if self.pid else ():
            try:
                parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
                command = (folder / "cmdline").read_bytes().decode(errors="replace")
            except (OSError, IndexError, ValueError):  # it ended meanwhile
                continue
            if parent == self.pid and "_backend_stub" in command and f"/{model}/" in command:
                found.add(int(folder.name))
        return found

    def end(self) -> None:
        """Let requests under way be answered, then end it with all its stubs."""
        if self._live is not None:
            self._live.terminate()
            # Beyond its own time it was seen to crash, and never to end.
            with suppress(subprocess.TimeoutExpired):
                self._live.wait(self._exit_timeout_s + 5)
            _kill_session(self._live.pid)
            self._live.wait()
            self._live = None
        for region in _SHM.glob(f"{self._shm_prefix}*"):  # of a stub that was killed
            region.unlink(missing_ok=True)

    def _failure(self, what: str) -> ServerError:
        return ServerError(
            where=f"Triton ({self.parts.origin})",
            what=what,
            mend=f"The whole log is in {self.log_path}; where that is gone, pass --log-file",
        )


def environment(parts: ServerParts) -> dict[str, str]:
    """Return the environment in which the stub embeds the server's Python and no other.

    Only the PATH and the loader's path say which: PYTHONPATH and VIRTUAL_ENV have no effect.
    """
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    libraries = [parts.facts.library_folder, variables.get("LD_LIBRARY_PATH", "")]
    variables["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
    folders = [str(parts.python.parent), variables.get("PATH", os.defpath)]
    variables["PATH"] = os.pathsep.join(folders)
    # The whole budget is the one stub's: the server itself only passes messages.
    for variable in (VARIABLE, "OMP_NUM_THREADS"):
        variables[variable] = str(thread_budget())
    variables.setdefault(TOKENIZER_VARIABLE, str(thread_budget()))
    return variables


def _kill_session(leader: int) -> None:
    with suppress(ProcessLookupError):  # nobody is left
        os.killpg(leader, signal.SIGKILL)
