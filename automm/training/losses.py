"""Losses of a batch, named; training minimises their sum."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from automm.config.schema import Config, FocalLossOptions, OptimConfig
from automm.models.fused import FusedModel
from automm.tasks.base import Batch
from automm_serve.errors import ConfigError


def classes_loss(model: FusedModel, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Cross-entropy or focal loss of the fused logits, and of each encoder's own head."""
    soft, optim = batch.targets.get("soft"), config.optim
    truth = batch.targets["classes"] if soft is None else soft
    # Mixed targets have been smoothed by data.mixup.label_smoothing.
    smoothing = optim.label_smoothing if soft is None else 0.0

    def loss(logits: Tensor) -> Tensor:
        logits = logits.float()
        weights = _weights(optim, logits)
        if optim.loss_func == "focal_loss":
            return focal_loss(logits, truth, optim.focal_loss, weights)
        return functional.cross_entropy(logits, truth, weight=weights, label_smoothing=smoothing)

    return _with_extras(model, batch, loss, config)


def focal_loss(
    logits: Tensor, truth: Tensor, options: FocalLossOptions, weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy that counts a row less, the better it is told (Lin et al., 2017).

    Args:
        logits: float32 (rows, classes).
        truth: int64 (rows,), or the shares of the classes, float32 (rows, classes).
        options: Its ``alpha`` weighs the classes.
        weights: Of the classes, float32 (classes,), on top of ``alpha``.
    """
    logarithms = functional.log_softmax(logits, dim=1)
    if truth.dim() == 1:
        truth = functional.one_hot(truth, logits.shape[1]).to(logits.dtype)
    missed = (1 - logarithms.exp()).clamp(min=1e-8)  # 0 to a power below 1 has no slope
    each = -truth * missed**options.gamma * logarithms
    if options.alpha is not None:
        each = each * logits.new_tensor(options.alpha)
    if weights is not None:
        each = each * weights
    losses = each.sum(dim=1)
    return losses.mean() if options.reduction == "mean" else losses.sum()


def weigh_classes(config: Config, codes: NDArray[np.int64], count: int) -> Config:
    """Put the weights in that ``optim.class_weights=balanced`` stands for, and check given ones.

    Args:
        config: Settings of the run.
        codes: int64 (rows,), the classes of the training rows.
        count: Number of classes.

    Raises:
        ConfigError: There are more weights, or fewer, than classes.
    """
    optim = config.optim
    for name, given in (
        ("class_weights", optim.class_weights),
        ("focal_loss.alpha", optim.focal_loss.alpha),
    ):
        if isinstance(given, tuple) and len(given) != count:
            raise ConfigError(
                where=f"hyperparameter 'optim.{name}'",
                what=f"it has {len(given)} weights, the label has {count} classes",
                mend="Give one for each class, in the order of class_labels",
            )
    if optim.class_weights != "balanced":
        return config
    shares = np.bincount(codes, minlength=count)
    weights = tuple(float(w) for w in len(codes) / (count * np.maximum(shares, 1)))
    return msgspec.structs.replace(
        config, optim=msgspec.structs.replace(optim, class_weights=weights)
    )


def _weights(optim: OptimConfig, logits: Tensor) -> Tensor | None:
    given = optim.class_weights
    return logits.new_tensor(given) if isinstance(given, tuple) else None


def values_loss(model: FusedModel, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Mean squared error, in deviations of the label."""
    truth = batch.targets["targets"]

    def loss(logits: Tensor) -> Tensor:
        return functional.mse_loss(logits[:, 0].float(), truth)

    return _with_extras(model, batch, loss, config)


def align_loss(features: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence between the features of any two encoders, as softmax.

    Args:
        features: float32 (rows, encoders, width).
    """
    logarithms = functional.log_softmax(features, dim=2)
    one, other = logarithms.unsqueeze(1), logarithms.unsqueeze(2)
    divergences = (other.exp() * (other - one)).sum(dim=(0, 3)) / len(features)
    count = features.shape[1]
    return divergences.sum() / (count * (count - 1))  # that of an encoder and itself is 0


def _with_extras(
    model: FusedModel, batch: Batch, loss: Callable[[Tensor], Tensor], config: Config
) -> dict[str, Tensor]:
    found = model(batch.tensors)
    losses = {"loss": loss(found["logits"])}
    for name, logits in found.items():
        if name.startswith("aux_"):
            losses[name] = model.aux_loss_weight * loss(logits)
    if "aligned" in found:
        weight = config.optim.cross_modal_align_weight
        losses["align"] = weight * align_loss(found["aligned"].float())
    return losses
