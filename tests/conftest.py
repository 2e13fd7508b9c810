"""For every test: no address but this machine's, and no skip where CI requires the test."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NoReturn

import pytest

from tests import needs

# The workers of a run share the cores: pools of more threads than that wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

LONGEST = [Path(__file__).with_name(name) for name in ("real", "triton")]

_LOOK_UPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
_SENDS = {"socket.connect", "socket.sendto", "socket.sendmsg"}


def close_sockets(event: str, args: tuple[object, ...]) -> None:
    """Refuse to look up or reach any host but 127.0.0.1.

    Raises:
        RuntimeError: Not an OSError: network code takes those for bad luck, and tries again.
    """
    host: object = None
    if event in _LOOK_UPS:
        host = args[0]
    elif event in _SENDS and isinstance(args[1], tuple):  # a path for a Unix socket is no tuple
        host = args[1][0]
    if host not in (None, "127.0.0.1", b"127.0.0.1"):
        raise RuntimeError(f"a test reaches for {host!r}; tests talk to 127.0.0.1 only")


sys.addaudithook(close_sockets)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker is left with one at the end."""
    items.sort(key=lambda item: not any(item.path.is_relative_to(folder) for folder in LONGEST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a required test into a failure, whatever skipped it."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        for name in needs.required():
            if item.get_closest_marker(name):
                report.outcome = "failed"
                report.longrepr = f"AUTOMM_REQUIRE asks for {name!r}: {report.longrepr}"
    return report


@pytest.fixture
def require_or_skip() -> Callable[[str, str], NoReturn]:
    """``require_or_skip(what, reason)``: skip, or fail where ``AUTOMM_REQUIRE`` names it."""
    return needs.require_or_skip


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """``real_data("emoji")``: path of a real data set, or a skip with the reason."""
    return needs.find_real_data
