"""A journal as Ray Tune sees it: what to try next, whom to stop, when to end.

Ray pickles what it is given, and nothing reads that here; so these pickle to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from automm.config.search import SearchSpace
from automm.search.record import Trial, Validation, goodness
from automm.search.state import Journal
from automm.search.suggest import suggest

EPOCH, SCORE, GOODNESS = "epoch", "score", "goodness"
"""Of what a trial reports; the last one only where it is a number."""

_FAR = 10**6
"""Grace periods up to which ASHA decides."""

_FINISHED: Any = Searcher.FINISHED
_FIFO: Any = FIFOScheduler


class Suggester(Searcher):
    """Gives Ray the next trial, and the journal what Ray hears of it.

    Args:
        journal: Of what is done.
        again: Trials that were cut off; they come first.
        ended: Called with the number of a trial that has, and whether its process died.
        is_over: Whether no more trials are to begin.
    """

    def __init__(
        self,
        journal: Journal,
        again: Sequence[Trial],
        ended: Callable[[int, bool], None],
        is_over: Callable[[], bool],
    ) -> None:
        super().__init__(metric=GOODNESS, mode="max")
        self.journal = journal
        self.ended = ended
        self.is_over = is_over
        self._again = list(again)
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        """Return what the next trial needs, or that there is none."""
        state, trials = self.journal.state, self.journal.trials
        if self.is_over():
            return _FINISHED
        if self._again:
            trial = self._again.pop(0)
            number, settings = trial.number, trial.settings
        elif len(trials) < state.space.num_trials:
            number = len(trials) + 1
            settings = suggest(
                state.space,
                trials,
                number=number,
                seed=state.request.seed,
                greater_is_better=state.greater_is_better,
            )
        else:
            return _FINISHED
        self._numbers[trial_id] = number
        self.journal.begin(number, settings)
        return {
            "folder": str(self.journal.folder(number).absolute()),
            "settings": msgspec.json.encode(settings).decode(),
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note a validation."""
        self._note(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Note the last validation, where Ray gives it here alone, and the end."""
        self._note(trial_id, result or {})
        self.ended(self._numbers[trial_id], error)

    def _note(self, trial_id: str, result: dict[str, Any]) -> None:
        if EPOCH not in result:
            return
        number = self._numbers[trial_id]
        found = Validation(result[EPOCH], result[SCORE])
        history = self.journal.trial(number).history
        if not history or found.epoch > history[-1].epoch:
            self.journal.validated(number, found)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the journal is on disk."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing."""

    def __reduce__(self) -> Any:
        return object, ()


class Ender(Stopper):
    """Ends a search, and no trial alone.

    Args:
        is_over: Whether to end it.
    """

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self.is_over = is_over

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Let the trial go on."""
        return False

    def stop_all(self) -> bool:
        """Tell whether the search is over."""
        return self.is_over()

    def __reduce__(self) -> Any:
        return object, ()


class Silent(TrialProgressCallback):
    """Stands where Ray would put one that prints."""

    def on_trial_result(self, *arguments: Any, **named: Any) -> None:
        """Say nothing."""

    def on_trial_error(self, *arguments: Any, **named: Any) -> None:
        """Say nothing."""

    def on_trial_complete(self, *arguments: Any, **named: Any) -> None:
        """Say nothing."""


def make_scheduler(space: SearchSpace, trials: Sequence[Trial], *, greater_is_better: bool) -> Any:
    """Return the scheduler, told what was reported before."""
    if space.scheduler == "FIFO":
        return _FIFO()
    options = space.scheduler_init_args
    scheduler: Any = ASHAScheduler(
        time_attr=EPOCH,
        metric=GOODNESS,
        mode="max",
        max_t=_FAR * options.grace_period,
        grace_period=options.grace_period,
        reduction_factor=options.reduction_factor,
        stop_last_trials=False,  # what comes after the last decision is none about the one before
    )
    for trial in trials:
        if trial.status != "running":
            same = SimpleNamespace(trial_id=f"before-{trial.number}")
            scheduler.on_trial_add(None, same)
            for one in trial.history:
                good = goodness(one.score, greater_is_better=greater_is_better)
                if math.isfinite(good):
                    scheduler.on_trial_result(None, same, {EPOCH: one.epoch, GOODNESS: good})
    return scheduler
