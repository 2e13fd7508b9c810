"""A trial, in a process of its own: a fit like any other, that reports each validation."""

from __future__ import annotations

import gc
import math
import os
import shutil
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from automm_serve.errors import AutoMMError
from automm_serve.threads import VARIABLE

if TYPE_CHECKING:
    from automm.predictor import MultiModalPredictor

FAILURE = "failed.json"
RECORD = "predictor.json"
"""Of a trial that has finished, below its folder."""


class Failure(Struct, frozen=True):
    """Why a trial has ended without a predictor; the parts of an ``AutoMMError``."""

    where: str
    what: str
    mend: str
    command: str = ""


class Work(Struct, frozen=True, kw_only=True):
    """What every trial does.

    Attributes:
        constructor: Arguments of the predictor.
        fit: Arguments of its fit.
        fixed: Settings that all trials share.
        threads: Of each.
        deadline: By ``time.monotonic``, which all processes of a machine share; None for none.
    """

    constructor: dict[str, Any]
    fit: dict[str, Any]
    fixed: dict[str, object]
    threads: int
    deadline: float | None = None

    def left(self) -> float:
        """Return the seconds that are left; without a deadline, infinite."""
        return math.inf if self.deadline is None else self.deadline - monotonic()


def run_trial(
    work: Work,
    settings: Mapping[str, Any],
    folder: Path,
    report: Callable[[float, float, bool], None],
) -> None:
    """Fit with these settings, or go on with a fit that was cut off.

    Args:
        work: What every trial does.
        settings: Of this one.
        folder: The predictor's; where it fails, why is written there.
        report: Told of each validation: epoch, score, whether more is better. It may raise
            ``SystemExit``, which ends the trial.
    """
    os.environ[VARIABLE] = str(work.threads)  # before torch and the tokenizer make their pools
    gc.collect()  # of a trial that was stopped before, in the same process
    try:
        predictor = _predictor(work, folder)
        predictor.listener = report
        left = None if work.deadline is None else max(1.0, work.left())
        given = work.fit | {"hyperparameters": {**work.fixed, **settings}, "time_limit": left}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is worth saying is in the summary
            predictor.fit(**given)
    except AutoMMError as error:
        _fail(folder, Failure(error.where, error.what, error.mend, error.command))
    except Exception as error:  # a process ends here: the search goes on without it
        where = "".join(traceback.format_tb(error.__traceback__)[-1:]).strip()
        what = f"{type(error).__name__}: {error} ({where})"
        _fail(folder, Failure("a trial", what, "Try these settings in a fit of their own"))


def read_failure(folder: Path) -> Failure | None:
    """Return why a trial has failed; None where it has not said so."""
    file = folder / FAILURE
    return msgspec.json.decode(file.read_bytes(), type=Failure) if file.is_file() else None


def _predictor(work: Work, folder: Path) -> MultiModalPredictor:
    from automm.predictor import MultiModalPredictor
    from automm.training.resume import STATE, read

    predictor = MultiModalPredictor(**work.constructor, path=folder, verbosity=0)
    if (folder / STATE).is_file():
        predictor.go_on_with(read(folder), folder)
    elif folder.exists():  # killed before its first validation
        shutil.rmtree(folder)
    return predictor


def _fail(folder: Path, failure: Failure) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FAILURE).write_bytes(msgspec.json.encode(failure))
