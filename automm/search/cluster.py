"""Ray on this machine alone: it listens on 127.0.0.1, tells nobody, and writes to a scratch folder.

Where the caller has started Ray, that one is used, and left as it is.
"""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from automm_serve.errors import ServerError
from automm_serve.optional import require

_TOKEN = secrets.token_hex(32)
"""Without one Ray would write a token to the home folder."""

LONGEST_PATH = 25
"""Bytes of a path below which Ray's own names fit."""

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints, whatever it is told
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of tables and pictures stay what they are
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that fails has none
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are ours: the best so far is saved
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # its own state is a pickle; ours is JSON
}


@contextmanager
def ray_here(*, slots: int, gpus: int) -> Iterator[Path]:
    """Have Ray running for the block.

    Args:
        slots: Trials at once.
        gpus: That it may give away.

    Yields:
        A folder for what Ray writes, gone behind the block.

    Raises:
        ServerError: It does not start.
        MissingDependencyError: It is not installed.
    """
    with _environment(_SETTINGS):
        ray = require("ray", purpose="a search of hyperparameters (hyperparameter_tune_kwargs)")
        scratch = tempfile.TemporaryDirectory(
            prefix="automm-", dir=_short_folder(), ignore_cleanup_errors=True
        )
        with scratch as folder, _quiet():
            started = not ray.is_initialized()
            try:
                if started:
                    _start(ray, folder, slots, gpus)
                yield Path(folder)
            finally:
                if started:
                    ray.shutdown()


def _short_folder() -> str | None:
    """A folder for temporary files whose path is short; None for the usual one.

    Below it lie sockets, whose names may have 107 bytes: clusters give each job a long TMPDIR.
    """
    if len(tempfile.gettempdir().encode()) <= LONGEST_PATH:
        return None
    return "/tmp" if os.access("/tmp", os.W_OK | os.X_OK) else None


def _start(ray: Any, scratch: str, slots: int, gpus: int) -> None:
    # Its children take it from here, and it keeps the first one for as long as the process lives.
    os.environ.setdefault("RAY_AUTH_TOKEN", _TOKEN)
    # Else it replaces 127.0.0.1 by the address of a network card, and listens to the network.
    constants: Any = import_module("ray._private.ray_constants")
    before = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = False
    try:
        ray.init(
            address="local",
            num_cpus=slots,
            num_gpus=gpus,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=scratch,
        )
    except Exception as error:  # of many kinds, from several processes
        raise ServerError(
            where="a search of hyperparameters",
            what=f"Ray does not start: {str(error).splitlines()[0]}",
            mend="Mend that, or start Ray yourself before the search",
        ) from error
    finally:
        constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Variables for the block; what the user has set stands."""
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """What Ray says of trials that fail is said by us, with what to do."""
    logger = logging.getLogger("ray")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
