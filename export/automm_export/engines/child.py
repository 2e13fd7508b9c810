"""The process that builds one engine: ``python -m automm_export.engines.child``.

It reads a ``Job`` as one line of JSON, and writes ``Event``s, one a line. When its input ends, as
it does when whoever started it dies, the build ends at its next step.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib import import_module

import msgspec

from automm_export.engines.builder import BuildError, build_engine
from automm_export.engines.job import Event, Failed, Job


def main() -> None:
    """Build what the first line of the input asks for."""
    # Ctrl-C reaches every process of a terminal; this one is told by the one that waits for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the libraries print, too, and nothing of it is an event
    lock = threading.Lock()

    def tell(event: Event) -> None:
        with lock:
            events.write(msgspec.json.encode(event) + b"\n")
            events.flush()

    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    stop = threading.Event()
    threading.Thread(target=_wait, args=(stop,), daemon=True).start()
    try:
        tell(build_engine(import_module(job.builder), job, tell, stop))
    except BuildError as error:
        tell(error.failed)
    except MemoryError as error:
        tell(Failed("memory", str(error) or "no memory is left to this process"))
    events.close()
    # Not by the usual way: a library may take long to unload, and some crash at it.
    os._exit(0)


def _wait(stop: threading.Event) -> None:
    sys.stdin.buffer.read()
    stop.set()


if __name__ == "__main__":
    main()
