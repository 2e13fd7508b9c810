"""A search from its plan to the predictor of its best trial, in the predictor's folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from msgspec.structs import replace

from automm.saved import RECORD, Record
from automm.search.driver import Driver
from automm.search.plan import find_slots, fixed_by
from automm.search.record import summarize
from automm.search.state import FOLDER, STATE, Journal, SearchState
from automm.search.trial import Work
from automm.training.interrupts import Interrupts
from automm.training.progress import TrainingProgress
from automm_serve.atomic import write_folder
from automm_serve.errors import AutoMMError, DataError

RESERVE_S, RESERVE_SHARE = 3.0, 0.02
"""Of the time, for what comes after the last trial."""


def search(
    path: Path,
    state: SearchState,
    constructor: Mapping[str, Any],
    given: Mapping[str, Any],
    deadline: float | None,
    *,
    shown: bool,
) -> None:
    """Run the trials, and put the best one's predictor where it is wanted.

    Args:
        path: Of the predictor.
        state: What is asked for, and what is done already.
        constructor: Arguments of each trial's predictor.
        given: Arguments of ``fit``.
        deadline: By ``time.monotonic``, for the saved predictor; None for no limit of time.
        shown: Draw a progress bar.

    Raises:
        ConfigError: The machine has not what is asked for.
        DataError: No trial has come to an end; the message says why.
        MissingDependencyError: Ray or the searcher's library is not installed.
    """
    slots = find_slots(state.space, state.config.env)
    if deadline is not None:
        deadline -= RESERVE_S + RESERVE_SHARE * (deadline - monotonic())
    nothing = dict.fromkeys(("save_path", "hyperparameter_tune_kwargs"))
    work = Work(
        constructor={**constructor, "pretrained": state.pretrained},
        fit={**given, **nothing, "presets": state.preset},
        fixed={**state.fixed, **fixed_by(slots)},
        threads=slots.threads,
        deadline=deadline,
    )
    journal = Journal(path, state)
    progress = TrainingProgress(state.request.metric, shown=shown)
    with progress, Interrupts() as interrupts:
        progress.say("starting Ray")
        driver = Driver(journal, work, slots, interrupts=interrupts, tell=progress.say)
        try:
            driver.run()
        except AutoMMError:
            if all(trial.status in ("failed", "stopped") for trial in journal.trials):
                shutil.rmtree(path / FOLDER, ignore_errors=True)  # there is nothing to go on with
            raise
    if not journal.best:
        raise DataError(
            where="the search",
            what="it was interrupted before a trial had ended",
            mend="Go on with it by",
            command=f"automm train --resume {path}",
        )
    _take_best(journal, keep=interrupts.heard is not None)


def _take_best(journal: Journal, *, keep: bool) -> None:
    """Let the best trial take the place of the whole folder; the search stays where it is kept."""
    path, state = journal.path, journal.state
    found = summarize(
        state.space,
        journal.trials,
        state.request.metric,
        greater_is_better=state.greater_is_better,
        seconds=journal.seconds,
    )
    best = journal.folder(found.best)
    record = msgspec.json.decode((best / RECORD).read_bytes(), type=Record)
    record = replace(record, summary=replace(record.summary, search=found))
    known_by = RECORD if (path / RECORD).is_file() else STATE
    with write_folder(path, replace=True, known_by=known_by) as folder:
        shutil.copytree(best, folder, dirs_exist_ok=True)
        (folder / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
        if keep:
            shutil.copytree(path / FOLDER, folder / FOLDER)
