"""Losses of a batch, named; training minimises their sum."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from automm.config.schema import Config
from automm.models.fused import FusedModel
from automm.tasks.base import Batch


def classes_loss(model: FusedModel, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Cross-entropy of the fused logits, and of each encoder's own where it has a head."""
    smoothing = config.optim.label_smoothing
    truth = batch.targets["classes"]

    def loss(logits: Tensor) -> Tensor:
        return functional.cross_entropy(logits.float(), truth, label_smoothing=smoothing)

    return _with_aux(model, batch, loss)


def values_loss(model: FusedModel, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Mean squared error, in deviations of the label."""
    truth = batch.targets["targets"]

    def loss(logits: Tensor) -> Tensor:
        return functional.mse_loss(logits[:, 0].float(), truth)

    return _with_aux(model, batch, loss)


def _with_aux(
    model: FusedModel, batch: Batch, loss: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    found = model(batch.tensors)
    losses = {"loss": loss(found["logits"])}
    for name, logits in found.items():
        if name.startswith("aux_"):
            losses[name] = model.aux_loss_weight * loss(logits)
    return losses
