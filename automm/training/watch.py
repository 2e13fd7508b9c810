"""Validates in the course of training, keeps the best states, and stops in time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from automm.config.schema import OptimConfig
from automm.data.datamodule import Step
from automm.training import devices
from automm.training.clock import Clock
from automm.training.interrupts import Interrupts
from automm.training.lightning import Callback, LightningModule, Trainer
from automm.training.module import TrainingModule
from automm.training.outcome import Listener
from automm.training.progress import TrainingProgress
from automm.training.recorder import Recorder
from automm.training.scoring import Scorer
from automm.training.soup import BestStates
from automm_export.graph import Graph

WHYS = ("max_epochs", "patience", "time_limit", "interrupted", "not_finite")
"""Why training stops; of several reasons the last one of these counts."""


@dataclass(frozen=True)
class Means:
    """What a run has to do with.

    Attributes:
        graph: What is served of the model in training; it is what is validated.
        scorer: Scores it.
        best: Takes the states in.
        clock: Knows what time is left.
        interrupts: Knows whether somebody wants it to end.
        progress: Is told.
        recorder: Keeps what another run would need to go on; None for nothing.
        gathers: Whether the weights are spread over the processes, so that the graph is a copy.
        listener: Told of each validation.
    """

    graph: Graph
    scorer: Scorer
    best: BestStates
    clock: Clock
    interrupts: Interrupts
    progress: TrainingProgress
    recorder: Recorder | None = None
    gathers: bool = False
    listener: Listener | None = None


class Watch(Callback):
    """Called after every step.

    Args:
        means: What it works with.
        optim: Says how often, and how long without a better one.

    Attributes:
        history: One entry for each validation.
        stopped: One of ``WHYS``.
        since_best: Validations since the best one.
    """

    def __init__(self, means: Means, optim: OptimConfig) -> None:
        self.means = means
        self.optim = optim
        self.history: list[dict[str, float]] = []
        self.stopped = WHYS[0]
        self.since_best = 0
        self._done = means.scorer.data.at  # steps
        self._validated = self._done if self._done else -1  # steps at the last validation
        self._begun = monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to signals, behind Lightning's back."""
        self.means.interrupts.listen()
        self._begun = monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Step,
        batch_idx: int,
    ) -> None:
        """Show the progress; validate where an interval ends; stop where it is time."""
        assert isinstance(pl_module, TrainingModule)
        data, clock = self.means.scorer.data, self.means.clock
        clock.stepped(monotonic() - self._begun)
        if devices.is_main() and not self.means.gathers:
            while clock.wants_guess(self.validations_to_come()):
                clock.guessed(self.means.scorer.guess_s(self.means.graph))
        epoch, place = divmod(batch.number, data.steps_per_epoch)
        if pl_module.broken is None:
            self._done = batch.number + 1
        self.means.progress.step(self._done, data.last, epoch + 1, self.optim.max_epochs)
        why = self._why(pl_module)
        if why == 0 and self._is_due(epoch, place + 1, data.steps_per_epoch):
            ran_out = self._validate(trainer, pl_module)
            self._record(trainer, pl_module)
            self.tell(self.history[-1])
            why = max(int(ran_out), self._why(pl_module))
        why = devices.most(why, pl_module.device)
        if why:
            trainer.should_stop = True
            self.stopped = WHYS[why]
        self._begun = monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate what was trained since the last time."""
        assert isinstance(pl_module, TrainingModule)
        skips = self.optim.skip_final_val and self.history
        if self._validated != self._done and not skips:
            self._validate(trainer, pl_module)
            self.tell(self.history[-1])

    def tell(self, validation: Mapping[str, float]) -> None:
        """Tell whoever listens of a validation, behind what is kept of it."""
        scorer = self.means.scorer
        if self.means.listener is not None and devices.is_main():
            score, metric = validation[scorer.metric], scorer.chosen
            self.means.listener(validation["epoch"], score, metric.greater_is_better)

    def validations_to_come(self) -> int:
        """Return how many there are after the last step: of it, of averages, of what is kept."""
        last = 0 if self._validated == self._done else 1
        states = min(self.optim.top_k, len(self.means.best.scores) + last)
        averages = {"best": 0, "uniform_soup": 1, "greedy_soup": states - 1}
        return last + averages[self.optim.top_k_average_method] + 1

    def _why(self, module: TrainingModule) -> int:
        """A reason to stop, as its place in ``WHYS``."""
        if module.broken is not None:
            return WHYS.index("not_finite")
        if self.means.interrupts.heard is not None:
            return WHYS.index("interrupted")
        over = devices.is_main() and self.means.clock.is_over(self.validations_to_come())
        return WHYS.index("time_limit") if over else 0

    def _is_due(self, epoch: int, done: int, steps: int) -> bool:
        """Tell whether an interval ends here; the end of an epoch is one, where it is not near."""
        if (epoch + 1) % self.optim.check_val_every_n_epoch:
            return False
        wanted = self.optim.val_check_interval
        interval = max(1, round(wanted * steps if wanted <= 1 else wanted))
        return done == steps or (done % interval == 0 and steps - done >= interval / 2)

    def _validate(self, trainer: Trainer, module: TrainingModule) -> bool:
        """Score the present state; tell whether patience has run out."""
        means, begun = self.means, monotonic()
        if means.gathers:
            self._gather(trainer)
        # One process scores, by the graph itself: the others have the same weights, and wait.
        score = means.scorer.score(means.graph) if devices.is_main() else math.nan
        (score,) = devices.share([score], module.device)
        self.since_best = 0 if means.best.offer(score) else self.since_best + 1
        self._validated = self._done
        self.history.append(
            {
                "epoch": round(self._done / means.scorer.data.steps_per_epoch, 3),
                "step": self._done,
                "loss": module.take_loss(),
                means.scorer.metric: score,
            }
        )
        means.progress.scored(score, means.best.scores[0])
        means.clock.validated(monotonic() - begun)
        return self.since_best >= self.optim.patience

    def _gather(self, trainer: Trainer) -> None:
        """Bring the weights together in the copy that is scored."""
        stem = "model."
        whole = trainer.strategy.lightning_module_state_dict()
        if devices.is_main():
            named = {k.removeprefix(stem): t for k, t in whole.items() if k.startswith(stem)}
            self.means.best.model.load_state_dict(named)

    def _record(self, trainer: Trainer, module: TrainingModule) -> None:
        """Keep everything that another run would need to go on from here."""
        if self.means.recorder is None or not devices.is_main():
            return
        self.means.recorder.write(
            self.means.best,
            trainer.optimizers[0],
            step=self._done,
            history=self.history,
            since_best=self.since_best,
            size=self.means.scorer.data.size_now,
            notes=module.notes,
            scaler=trainer.precision_plugin.state_dict(),
            beside=module.distiller,
        )
