"""The only ``LightningModule``: one step of the optimiser over the rows of an effective batch."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_, get_total_norm
from torch.optim.lr_scheduler import LambdaLR

from automm.config.schema import Config
from automm.data.datamodule import Step, TrainingData
from automm.models.fused import FusedModel
from automm.tasks.base import Batch, Task
from automm.training import devices
from automm.training.distill import Distiller
from automm.training.lightning import LightningModule, LightningOptimizer
from automm.training.memory import free, is_out_of_memory
from automm.training.optim import build_optimizer, build_schedule
from automm.training.outcome import FitWarning
from automm_serve.errors import DataError


class Broken(NamedTuple):
    """A step that was not taken.

    Attributes:
        step: Its number.
        rows: Positions of the rows whose loss is not finite, or of all where none is to blame.
        what: What is not finite.
    """

    step: int
    rows: list[int]
    what: str


class TrainingModule(LightningModule):
    """Trains the model of a task.

    It steps by itself: an effective batch is computed in portions whose losses are weighed by
    their rows, so that a short last batch counts as it should; the portions can be made smaller
    where memory runs out; and a step that would spoil the weights is not taken.

    Attributes:
        distiller: Compares the model with a teacher; None where there is none. What it trains is
            in no saved state but that of a fit that was cut off.
        broken: Why training cannot go on; None as long as it can.
        notes: What was said.
        last_norm: Of the gradients of the last step, before they were clipped.
    """

    def __init__(
        self,
        task: Task,
        model: FusedModel,
        config: Config,
        data: TrainingData,
        distiller: Distiller | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.task = task
        self.model = model
        self.distiller = distiller
        self.config = config
        self.data = data
        self.broken: Broken | None = None
        self.notes: list[str] = []
        self.last_norm: Tensor | None = None
        self._losses: list[Tensor] = []
        # By name and now: sharding strategies make every parameter a vector.
        self._matrices = {n for n, p in model.named_parameters() if p.squeeze().dim() > 1}

    def training_step(self, step: Step, batch_idx: int) -> None:
        """Take one step, or leave a reason in ``broken``.

        Raises:
            DataError: A single row needs more memory than there is.
        """
        portions = self._backward(step)
        while portions is None:
            self._halve()
            portions = self._backward(step)
        loss = torch.stack([found for _, found in portions]).sum()
        if devices.most(int(not torch.isfinite(loss)), self.device):
            rows = [step.rows[p] for places, x in portions if not torch.isfinite(x) for p in places]
            self._stop(step, rows, f"the loss is {float(loss)}")
            return
        if self._scaler is None and not self._clip(step):
            return
        self._optimizer.step()
        self._schedule.step()
        self._losses.append(loss.detach())

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Clip where gradients were scaled until now; the scaler leaves out what overflows."""
        if self._scaler is not None:
            self._clip(None)

    def configure_optimizers(self) -> Any:
        """Return the optimiser, and the schedule that is stepped with it."""
        optim, steps = self.config.optim, self.data.last
        optimizer = build_optimizer(self.model, self.config, self._matrices)
        if self.distiller is not None and (beside := list(self.distiller.parameters())):
            rates = {"lr": optim.lr, "weight_decay": optim.weight_decay}
            optimizer.add_param_group({"params": beside, **rates})
        schedule = build_schedule(optimizer, optim, steps, self.data.steps_per_epoch)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def take_loss(self) -> float:
        """Return the mean loss since the last call, of all processes."""
        if not self._losses:
            return float("nan")
        mean = float(torch.stack(self._losses).double().mean())
        self._losses.clear()
        return devices.total(mean, self.device) / self._world

    @property
    def last_loss(self) -> float | None:
        """The loss of the last step; None where ``take_loss`` has taken it."""
        return float(self._losses[-1]) if self._losses else None

    @property
    def _world(self) -> int:
        return int(self.trainer.world_size)

    @property
    def _optimizer(self) -> LightningOptimizer:
        found = self.optimizers()
        assert isinstance(found, LightningOptimizer)  # a list, where there are several
        return found

    @property
    def _schedule(self) -> LambdaLR:
        found = self.lr_schedulers()
        assert isinstance(found, LambdaLR)
        return found

    @property
    def _scaler(self) -> Any:
        return getattr(self.trainer.precision_plugin, "scaler", None)

    def _backward(self, step: Step) -> list[tuple[list[int], Tensor]] | None:
        """Gather gradients over a step's rows; None where memory has run out."""
        self._optimizer.zero_grad()
        portions = self._portions(step)
        found = []
        try:
            for number, (places, weight, share) in enumerate(portions):
                batch = _to(self.data.batch(step, places), self.device)
                with self._alone() if number + 1 < len(portions) else nullcontext():
                    loss = self._loss(batch, weight, share)
                    self.manual_backward(loss)
                found.append((places, loss.detach()))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None  # outside this block, where the error no longer holds the tensors
        return found

    def _loss(self, batch: Batch, weight: float, share: float) -> Tensor:
        """The loss of a portion, by its weight; what is of a teacher by its share of the rows."""
        if self.distiller is None:
            losses = self.task.loss(self.model, batch, self.config)
            return torch.stack(list(losses.values())).sum() * weight
        student: dict[str, Tensor] = {}
        # So the task's losses need not know that somebody else reads the same answers.
        with self.model.register_forward_hook(lambda *call: student.update(call[-1])):
            losses = self.task.loss(self.model, batch, self.config)
        hard = self.config.distiller.hard_label_weight
        own = [loss * (1 if name == "align" else hard) for name, loss in losses.items()]
        taught = self.distiller(student, batch.teacher)
        return torch.stack(own).sum() * weight + torch.stack(list(taught.values())).sum() * share

    def _portions(self, step: Step) -> list[tuple[list[int], float, float]]:
        """What this process computes of a step: places of rows, weight of their loss, their share.

        The weight and the share differ where classes have weights.
        """
        order = np.argsort(self.data.lengths(step.rows), kind="stable").tolist()
        mine = order[devices.rank() :: self._world]
        if not mine:  # every process must take part in every step
            return [(order[:1], 0.0, 0.0)]
        size, shares = self.data.size_now, self._shares(step)
        cut = [mine[start : start + size] for start in range(0, len(mine), size)]
        # The world undoes that gradients are averaged over the processes.
        return [
            (
                places,
                self._world * (1.0 if shares is None else float(shares[places].sum())),
                self._world * len(places) / len(order),
            )
            for places in cut
        ]

    def _shares(self, step: Step) -> NDArray[np.float64] | None:
        """Weight of each row in the mean over a step; None where losses are summed."""
        optim = self.config.optim
        if optim.loss_func == "focal_loss" and optim.focal_loss.reduction == "sum":
            return None
        weights = np.ones(len(step.rows))
        mixes = self.config.data.mixup.turn_on  # then the classes are shares, and rows count alike
        if isinstance(optim.class_weights, tuple) and optim.loss_func == "auto" and not mixes:
            # Cross-entropy with weights is a mean over weights.
            classes = self.data.train.targets["classes"][step.rows]
            weights = np.asarray(optim.class_weights)[classes]
        shares: NDArray[np.float64] = weights / weights.sum()
        return shares

    def _alone(self) -> AbstractContextManager[Any]:
        """Keep gradients to this process for the while: the last portion sums up all."""
        wrapped: Any = self.trainer.strategy.model
        return wrapped.no_sync() if hasattr(wrapped, "no_sync") else nullcontext()

    def _halve(self) -> None:
        """Compute half as many rows at once from now on."""
        free()
        size = self.data.size_now
        if size == 1 or self._world > 1:
            # With several processes the others wait in the middle of a sum.
            raise DataError(
                where="training",
                what=f"memory runs out at {size} rows at once",
                mend="Lower env.per_gpu_batch_size, model.hf_text.max_text_len or "
                "model.timm_image.image_size, or set model.hf_text.gradient_checkpointing=true",
            )
        self.data.size_now = size // 2
        self.say(
            f"memory ran out at {size} rows at once: {size // 2} are computed at once from here "
            "on, and as many as before make a step of the optimiser"
        )

    def _clip(self, step: Step | None) -> bool:
        """Clip the gradients; False, and nothing else to come, where they are not finite."""
        optim, root = self.config.optim, self.trainer.strategy.model
        if self.trainer.strategy.__class__.__name__ == "DeepSpeedStrategy":
            return True  # it clips by itself
        parameters = [p for p in self.parameters() if p.grad is not None]
        value = optim.gradient_clip_val
        if optim.gradient_clip_algorithm == "norm" and value:
            sharded: Any = getattr(root, "clip_grad_norm_", None)
            norm = sharded(value) if sharded else clip_grad_norm_(parameters, value)
        else:
            norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
            if value:
                clip_grad_value_(parameters, value)
        self.last_norm = norm.detach()
        if step is None or torch.isfinite(norm):
            return True
        self._stop(step, step.rows, f"the norm of the gradients is {float(norm)}")
        return False

    def _stop(self, step: Step, rows: list[int], what: str) -> None:
        self._optimizer.zero_grad()
        self.broken = Broken(step.number, sorted(rows or step.rows), what)

    def say(self, what: str) -> None:
        """Say something at once, and keep it for the summary."""
        self.notes.append(what)
        if devices.is_main():
            warnings.warn(what, FitWarning, stacklevel=2)


def _to(batch: Batch, device: torch.device) -> Batch:
    return Batch(
        {name: tensor.to(device, non_blocking=True) for name, tensor in batch.tensors.items()},
        {name: tensor.to(device, non_blocking=True) for name, tensor in batch.targets.items()},
        {name: tensor.to(device, non_blocking=True) for name, tensor in batch.teacher.items()},
    )
