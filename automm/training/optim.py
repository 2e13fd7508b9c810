"""The optimiser, learning rates by layer, weight decay where it belongs, and the schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from typing import Any

from torch import nn
from torch.optim import SGD, Adafactor, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from automm.config.schema import Config, OptimConfig
from automm.models.encoders import options_of
from automm.models.encoders.base import Encoder
from automm.models.fused import FusedModel
from automm.models.fusion import fusion_options

BETAS, EPSILON, MOMENTUM = (0.9, 0.999), 1e-6, 0.9


def build_optimizer(
    model: FusedModel, config: Config, matrices: Collection[str] | None = None
) -> Optimizer:
    """Return the optimiser, with one group for each pair of rate and decay that occurs.

    Args:
        model: What is trained of it goes in.
        config: Settings.
        matrices: Names of the parameters with several dimensions, where the model no longer shows
            which they are: some strategies make vectors of all.
    """
    if matrices is None:
        matrices = {n for n, p in model.named_parameters() if p.squeeze().dim() > 1}
    decaying = {id(p) for n, p in model.named_parameters() if n in matrices}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter, rate in _rates(model, config):
        # Biases, norms and single vectors are no weights that could overfit by growing.
        decay = config.optim.weight_decay if id(parameter) in decaying else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    listed: list[dict[str, Any]] = [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
    return OPTIMIZERS[config.optim.optim_type](listed)


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]]], Optimizer]] = {
    "adamw": lambda groups: AdamW(groups, betas=BETAS, eps=EPSILON),
    "adam": lambda groups: Adam(groups, betas=BETAS, eps=EPSILON),
    "sgd": lambda groups: SGD(groups, momentum=MOMENTUM),
    "adafactor": Adafactor,
}
"""``optim.optim_type`` -> groups of parameters -> the optimiser; constants are AutoGluon's."""


def build_schedule(
    optimizer: Optimizer, optim: OptimConfig, steps: int, steps_per_epoch: float
) -> LambdaLR:
    """Return warm-up, then the schedule down to ``end_lr``.

    Args:
        optimizer: Whose rates it sets.
        optim: Says which.
        steps: Of the whole run.
        steps_per_epoch: What ``optim.lr_steps`` counts in.
    """
    warm = int(optim.warmup_steps * (steps if optim.warmup_steps < 1 else 1))
    floor = min(1.0, optim.end_lr / optim.lr)
    shape = SCHEDULES[optim.lr_schedule]

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        done = min(1.0, (step - warm) / max(1, steps - warm))
        return floor + (1 - floor) * shape(optim, done, step / steps_per_epoch)

    return LambdaLR(optimizer, factor)


def _multi_step(optim: OptimConfig, done: float, epoch: float) -> float:
    return float(0.1 ** sum(epoch >= at for at in optim.lr_steps))


SCHEDULES: dict[str, Callable[[OptimConfig, float, float], float]] = {
    "cosine_decay": lambda optim, done, epoch: 0.5 * (1 + math.cos(math.pi * done)),
    "polynomial_decay": lambda optim, done, epoch: 1 - done,  # AutoGluon's power is 1
    "linear_decay": lambda optim, done, epoch: 1 - done,
    "multi_step": _multi_step,
    "constant": lambda optim, done, epoch: 1.0,
}
"""``optim.lr_schedule`` -> the share of the rate that is left, by the share of the steps after
warm-up that are done and by the epoch."""


def _rates(model: FusedModel, config: Config) -> Iterator[tuple[nn.Parameter, float]]:
    """Every trained parameter once, with its rate."""
    seen: set[int] = set()
    base = config.optim.lr
    for name, encoder in model.encoders.items():
        assert isinstance(encoder, Encoder)
        lr = base * options_of(config, name).lr_mult
        # What begins at random learns at one rate: its lower layers know nothing to keep.
        decay = _decay(config) if encoder.backbone else 1.0
        for parameter, rate in _by_layer(encoder, lr, decay):
            if id(parameter) not in seen and parameter.requires_grad:
                seen.add(id(parameter))
                yield parameter, rate
    for parameter in model.parameters():  # fusion and heads
        if id(parameter) not in seen and parameter.requires_grad:
            yield parameter, base * fusion_options(config).lr_mult * _head(config)


def _by_layer(encoder: Encoder, lr: float, decay: float) -> Iterator[tuple[nn.Parameter, float]]:
    """The block at the output learns at ``lr``, each below it at ``decay`` times the one above."""
    depth = len(encoder.blocks)
    for number, block in enumerate(encoder.blocks):
        for parameter in block.parameters():
            yield parameter, lr * decay ** (depth - 1 - number)
    for name, module in encoder.named_modules():
        for parameter in module.parameters(recurse=False):
            # Outside the blocks: a norm behind them, or class token and positions before them.
            yield parameter, lr if "norm" in name else lr * decay ** (depth - 1)


def _decay(config: Config) -> float:
    return config.optim.lr_decay if config.optim.lr_choice == "layerwise_decay" else 1.0


def _head(config: Config) -> float:
    return config.optim.lr_mult if config.optim.lr_choice == "two_stages" else 1.0
