"""Validates in the course of training, keeps the best states, and stops in time."""

from __future__ import annotations

from time import monotonic
from typing import Any

from automm.config.schema import OptimConfig
from automm.training.lightning import Callback, LightningModule, Trainer
from automm.training.progress import TrainingProgress
from automm.training.scoring import Scorer
from automm.training.soup import BestStates
from automm_export.graph import Graph


class Watch(Callback):
    """Called after every batch.

    Args:
        graph: What is served of the model in training; it is what is validated.
        scorer: Scores it.
        best: Takes the states in.
        optim: Says how often, and how long without a better one.
        progress: Is told.
        deadline: When to stop, by ``time.monotonic``; None for never.

    Attributes:
        history: One entry for each validation: ``epoch`` (a fraction) and the score.
    """

    def __init__(
        self,
        graph: Graph,
        scorer: Scorer,
        best: BestStates,
        optim: OptimConfig,
        progress: TrainingProgress,
        deadline: float | None,
    ) -> None:
        self.graph = graph
        self.scorer = scorer
        self.best = best
        self.optim = optim
        self.progress = progress
        self.deadline = deadline
        self.history: list[dict[str, float]] = []
        self.stopped = "max_epochs"
        self._since_best = 0
        self._fresh = False  # whether the present state has been validated

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the progress; validate where an interval ends; stop where the time is over."""
        batches = int(trainer.num_training_batches)
        done = batch_idx + 1
        self.progress.step(
            trainer.current_epoch * batches + done,
            self.optim.max_epochs * batches,
            trainer.current_epoch + 1,
            self.optim.max_epochs,
        )
        self._fresh = False
        if self._is_due(trainer.current_epoch, done, batches) and self._validate(
            trainer.current_epoch + done / batches
        ):
            self._stop(trainer, "patience")
        if self.deadline is not None and monotonic() > self.deadline:
            self._stop(trainer, "time_limit")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate what was trained since the last time."""
        if not self._fresh and not (self.optim.skip_final_val and self.history):
            self._validate(trainer.current_epoch)

    def _is_due(self, epoch: int, done: int, batches: int) -> bool:
        """Tell whether an interval ends here; the end of an epoch is one, where it is not near."""
        if (epoch + 1) % self.optim.check_val_every_n_epoch:
            return False
        wanted = self.optim.val_check_interval
        interval = max(1, round(wanted * batches if wanted <= 1 else wanted))
        return done == batches or (done % interval == 0 and batches - done >= interval / 2)

    def _validate(self, epoch: float) -> bool:
        """Score the present state; tell whether patience has run out."""
        score = self.scorer.score(self.graph)
        self._since_best = 0 if self.best.offer(score) else self._since_best + 1
        self._fresh = True
        self.history.append({"epoch": round(epoch, 3), self.scorer.metric: score})
        self.progress.scored(score, self.best.scores[0])
        return self._since_best >= self.optim.patience

    def _stop(self, trainer: Trainer, why: str) -> None:
        trainer.should_stop = True
        self.stopped = why
