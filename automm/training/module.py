"""The only ``LightningModule``: a task's loss over batches, and its optimiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from automm.config.schema import Config
from automm.models.fused import FusedModel
from automm.tasks.base import Batch, Task
from automm.training.lightning import LightningModule
from automm.training.optim import build_optimizer, build_schedule
from automm_serve.errors import DataError


class TrainingModule(LightningModule):
    """Trains the model of a task."""

    def __init__(self, task: Task, model: FusedModel, config: Config) -> None:
        super().__init__()
        self.task = task
        self.model = model
        self.config = config

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the sum of the losses.

        Raises:
            DataError: It is not finite; what comes after would be NaN for ever.
        """
        losses = self.task.loss(self.model, batch, self.config)
        loss = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(loss):
            raise DataError(
                where=f"training, step {self.global_step}",
                what=f"the loss is {float(loss)}",
                mend="Lower optim.lr, or look for extreme numbers in the table",
            )
        return loss

    def configure_optimizers(self) -> Any:
        """Return the optimiser, and the schedule that is stepped with it."""
        optimizer = build_optimizer(self.model, self.config)
        steps = int(self.trainer.estimated_stepping_batches)
        per_epoch = steps / max(1, self.config.optim.max_epochs)
        schedule = build_schedule(optimizer, self.config.optim, steps, per_epoch)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
