"""What a search needs to go on after a kill: one JSON file, and a folder for each trial.

- ``search/search.json``: what was asked, and every trial so far
- ``search/trials/<number>/``: a fit of its own, with its own resume folder until it ends

The file takes the place of the one before in one move. So a kill at any moment costs what the
trials that ran have learnt since their last validation, and nothing else.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from automm.config.schema import Config
from automm.config.search import SearchSpace
from automm.search.record import Trial, Validation, goodness, rank
from automm.training.resume import Request, read_state
from automm_serve.atomic import sync

FORMAT = 2
FOLDER = "search"
"""Below the predictor's path."""

STATE = f"{FOLDER}/search.json"
TRIALS = f"{FOLDER}/trials"


class SearchState(Struct, frozen=True, kw_only=True):
    """``search.json``.

    Attributes:
        format: Version of the file.
        request: What a fit was asked for.
        config: Settings, as they are where nothing is varied.
        preset: As it was named.
        fixed: Settings that all trials share, on top of it.
        space: What is varied.
        pretrained: As the constructor was told.
        greater_is_better: Of the metric.
        trials: So far.
        seconds: So far.
    """

    format: int = FORMAT
    request: Request
    config: Config
    preset: str | None
    fixed: dict[str, Any]
    space: SearchSpace
    pretrained: bool
    greater_is_better: bool
    trials: tuple[Trial, ...] = ()
    seconds: float = 0.0


class Journal:
    """Keeps the state, in memory and on disk.

    Args:
        path: Of the predictor.
        state: To begin with.
    """

    def __init__(self, path: Path, state: SearchState) -> None:
        self.path = path
        self.state = state
        self._trials = {trial.number: trial for trial in state.trials}
        self._begun = monotonic() - state.seconds
        self._write()

    @property
    def trials(self) -> list[Trial]:
        """All so far, by their number."""
        return [self._trials[number] for number in sorted(self._trials)]

    @property
    def best(self) -> list[Trial]:
        """Those that have finished, the best first."""
        return rank(self.trials, greater_is_better=self.state.greater_is_better)

    @property
    def seconds(self) -> float:
        """That the search took, what came before a kill included."""
        return monotonic() - self._begun

    def folder(self, number: int) -> Path:
        """Return where a trial lies."""
        return self.path / TRIALS / f"{number:04d}"

    def trial(self, number: int) -> Trial:
        """Return one of them."""
        return self._trials[number]

    def begin(self, number: int, settings: dict[str, Any]) -> Trial:
        """Note that a trial begins, or begins again."""
        return self._put(Trial(number=number, settings=settings))

    def validated(self, number: int, validation: Validation) -> None:
        """Note a validation."""
        trial = self._trials[number]
        more = self.state.greater_is_better
        scores = (trial.score, validation.score)
        best = max(scores, key=lambda one: goodness(one, greater_is_better=more))
        history = (*trial.history, validation)
        self._put(replace(trial, history=history, score=best, epochs=validation.epoch))

    def end(self, number: int, **changes: Any) -> None:
        """Note that a trial has ended, and remove the folders that nothing needs any more."""
        self._put(replace(self._trials[number], **changes))
        kept = {trial.number for trial in self.best[: self.state.space.num_to_keep]}
        for trial in self.trials:
            if trial.status != "running" and trial.number not in kept:
                shutil.rmtree(self.folder(trial.number), ignore_errors=True)

    def _put(self, trial: Trial) -> Trial:
        self._trials[trial.number] = trial
        self._write()
        return trial

    def _write(self) -> None:
        seconds = round(self.seconds, 2)
        self.state = replace(self.state, trials=tuple(self.trials), seconds=seconds)
        file = self.path / STATE
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(self.state))
        sync(new)
        new.replace(file)


def is_search(path: Path) -> bool:
    """Tell whether a search was cut off below a predictor's path."""
    return (path / STATE).is_file()


def read_search(path: Path) -> SearchState:
    """Read what a search that was cut off has left.

    Raises:
        BundleError: It is damaged, or of another release.
    """
    file = path / STATE
    return read_state(file, SearchState, FORMAT)
