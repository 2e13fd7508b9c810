"""Fully connected layers as the fusion and the encoders of table columns have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
}


class LayerOptions(Protocol):
    """The settings that layers read."""

    @property
    def dropout(self) -> float: ...  # noqa: D102
    @property
    def activation(self) -> str: ...  # noqa: D102
    @property
    def normalization(self) -> str: ...  # noqa: D102


class BatchNorm(nn.BatchNorm1d):
    """A batch norm over the last axis, whatever stands before it."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape; a row's answer is its own outside of training."""
        return super().forward(x.flatten(0, -2)).reshape(x.shape)


def build_norm(width: int, kind: str) -> nn.Module:
    """Build ``layer_norm`` or ``batch_norm``."""
    return BatchNorm(width) if kind == "batch_norm" else nn.LayerNorm(width)


def build_activation(name: str | None) -> nn.Module:
    """Build an activation, or what does nothing for None."""
    return nn.Identity() if name is None else ACTIVATIONS[name]()


def mlp_layers(size: int, hidden_sizes: Sequence[int], options: LayerOptions) -> nn.Sequential:
    """Build Linear -> norm -> activation -> Dropout for each hidden size.

    The norm stands behind the first layer and not before it: over a single number it would be 0
    whatever the number.
    """
    layers: list[nn.Module] = []
    for hidden in hidden_sizes:
        layers += [
            nn.Linear(size, hidden),
            build_norm(hidden, options.normalization),
            ACTIVATIONS[options.activation](),
            nn.Dropout(options.dropout),
        ]
        size = hidden
    return nn.Sequential(*layers)
