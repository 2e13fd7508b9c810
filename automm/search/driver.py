"""Runs trials by Ray Tune: several at once, the poor ones stopped, what comes of each noted.

Ray starts the processes and decides who is stopped. What is tried next, and what a search goes on
from after a kill, is ours: Ray keeps that in pickles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from automm.search.cluster import ray_here
from automm.search.plan import Slots
from automm.search.record import Trial, goodness
from automm.search.state import Journal
from automm.search.trial import FAILURE, RECORD, Failure, Work, read_failure, run_trial
from automm.training.interrupts import Interrupts
from automm_serve.errors import DataError
from automm_serve.optional import require

LOST = 5
"""Trials that fail before one has learnt anything, after which the search gives up."""

_DIED = Failure("a trial", "its process died", "Lower resources_per_trial or max_concurrent")


class _Summary(Struct):
    score: float | None
    seconds: dict[str, float]


class _Record(Struct):
    """The part of a trial's ``predictor.json`` that is of use here."""

    summary: _Summary


class Driver:
    """Runs the trials of a journal.

    Args:
        journal: Of what is done; trials that it says to run begin again.
        work: What every trial does.
        slots: What the machine gives.
        interrupts: Knows whether somebody wants the search to end, running trials and all.
        tell: Shows how it goes.
    """

    def __init__(
        self,
        journal: Journal,
        work: Work,
        slots: Slots,
        *,
        interrupts: Interrupts,
        tell: Callable[[str], None],
    ) -> None:
        self.journal = journal
        self.work = work
        self.slots = slots
        self.interrupts = interrupts
        self.tell = tell
        self._failures: list[Failure] = []

    def run(self) -> None:
        """Run trials until there are enough, or no time is left.

        Raises:
            DataError: Every trial fails; the message is that of the first.
            MissingDependencyError: Ray or the searcher's library is not installed.
        """
        journal = self.journal
        for trial in journal.trials:
            folder = journal.folder(trial.number)
            if trial.status == "running" and any((folder / f).is_file() for f in (RECORD, FAILURE)):
                self._ended(trial.number, died=False)  # killed before that was noted
        again = [trial for trial in journal.trials if trial.status == "running"]
        if again or len(journal.trials) < journal.state.space.num_trials:
            self._tune(again)
        if self._failures and not (journal.best or self._interrupted):
            first = self._failures[0]
            raise DataError(
                where=first.where, what=first.what, mend=first.mend, command=first.command
            )

    @property
    def _interrupted(self) -> bool:
        return self.interrupts.heard is not None

    @property
    def _learnt(self) -> bool:
        return any(trial.history for trial in self.journal.trials)

    def _tune(self, again: list[Trial]) -> None:
        state, slots = self.journal.state, self.slots
        with ray_here(slots=slots.trials, gpus=slots.trials * slots.gpus) as scratch:
            self.interrupts.listen()  # Ray puts handlers of its own in, which would end us
            self._say()
            tune = require("ray.tune", purpose="a search")
            adapters = require("automm.search.adapters", purpose="a search")
            tuner = tune.Tuner(
                tune.with_resources(
                    tune.with_parameters(train, work=self.work), {"cpu": 1, "gpu": slots.gpus}
                ),
                tune_config=tune.TuneConfig(
                    search_alg=adapters.Suggester(self.journal, again, self._ended, self._is_over),
                    scheduler=adapters.make_scheduler(
                        state.space,
                        self.journal.trials,
                        greater_is_better=state.greater_is_better,
                    ),
                    num_samples=-1,
                    max_concurrent_trials=slots.trials,
                    reuse_actors=True,  # importing torch takes longer than a small fit
                ),
                run_config=tune.RunConfig(
                    name="search",
                    storage_path=str(scratch / "ray"),
                    verbose=0,
                    callbacks=[adapters.Silent()],
                    stop=adapters.Ender(lambda: self._interrupted or self._gives_up()),
                ),
            )
            tuner.fit()

    def _is_over(self) -> bool:
        """Tell whether another trial would have less than half the time of the quickest."""
        if self._interrupted or self._gives_up():
            return True
        if self.work.deadline is None:
            return False
        quickest = min((t.seconds for t in self.journal.best), default=0.0)
        return self.work.left() < quickest / 2

    def _gives_up(self) -> bool:
        return len(self._failures) >= LOST and not self._learnt

    def _ended(self, number: int, died: bool) -> None:
        """Note how a trial has ended: by what lies in its folder."""
        folder, failure = self.journal.folder(number), None
        if (folder / RECORD).is_file():
            found = msgspec.json.decode((folder / RECORD).read_bytes(), type=_Record).summary
            score = found.score if found.score is not None and math.isfinite(found.score) else None
            self.journal.end(
                number, status="finished", score=score, seconds=found.seconds.get("all", 0.0)
            )
        elif failure := read_failure(folder) or (_DIED if died else None):
            self._failures.append(failure)
            self.journal.end(number, status="failed", what=f"{failure.where}: {failure.what}")
        elif not self._interrupted:  # else it is gone on with
            self.journal.end(number, status="stopped")
        self._say()

    def _say(self) -> None:
        done = [trial for trial in self.journal.trials if trial.status != "running"]
        best = self.journal.best
        state = self.journal.state
        so_far = f", best {state.request.metric} {best[0].score:.4g}" if best else ""
        self.tell(f"{len(done)} of {state.space.num_trials} trials{so_far}")


def train(config: dict[str, Any], work: Work) -> None:
    """Run a trial in a process of Ray's; it reports to Ray, which may end it there."""
    from ray import tune

    from automm.search.adapters import EPOCH, GOODNESS, SCORE

    def report(epoch: float, score: float, greater_is_better: bool) -> None:
        plain = score if math.isfinite(score) else None
        found: dict[str, Any] = {EPOCH: epoch, SCORE: plain}
        if plain is not None:
            found[GOODNESS] = goodness(plain, greater_is_better=greater_is_better)
        tune.report(found)

    run_trial(work, msgspec.json.decode(config["settings"]), Path(config["folder"]), report)
