"""Learning rates by layer, weight decay where it belongs, and the schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from automm.config.schema import Config, OptimConfig
from automm.models.encoders import options_of
from automm.models.encoders.base import Encoder
from automm.models.fused import FusedModel

BETAS, EPSILON = (0.9, 0.999), 1e-6


def build_optimizer(model: FusedModel, config: Config) -> Optimizer:
    """Return AdamW with one group for each pair of rate and decay that occurs."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter, rate in _rates(model, config):
        # Biases, norms and single vectors are no weights that could overfit by growing.
        decay = config.optim.weight_decay if parameter.dim() > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    listed: list[dict[str, Any]] = [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
    return AdamW(listed, betas=BETAS, eps=EPSILON)


def build_schedule(optimizer: Optimizer, optim: OptimConfig, steps: int) -> LambdaLR:
    """Return warm-up, then the schedule down to ``end_lr``, over so many steps."""
    warm = int(optim.warmup_steps * steps)
    floor = min(1.0, optim.end_lr / optim.lr)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        done = min(1.0, (step - warm) / max(1, steps - warm))
        match optim.lr_schedule:
            case "cosine_decay":
                left = 0.5 * (1 + math.cos(math.pi * done))
            case "linear_decay":
                left = 1 - done
            case _:
                return 1.0
        return floor + (1 - floor) * left

    return LambdaLR(optimizer, factor)


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
            yield parameter, base * config.model.fusion_mlp.lr_mult


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
