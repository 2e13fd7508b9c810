"""A pre-norm transformer block, of the FT-Transformer and of the fusion by transformer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional

from automm.models.additive import AdditiveAttention
from automm.models.mlp import ACTIVATIONS, build_norm
from automm_serve.errors import ConfigError


class BlockOptions(Protocol):
    """The settings that a block reads."""

    @property
    def attention_num_heads(self) -> int: ...  # noqa: D102
    @property
    def attention_dropout(self) -> float: ...  # noqa: D102
    @property
    def residual_dropout(self) -> float: ...  # noqa: D102
    @property
    def ffn_dropout(self) -> float: ...  # noqa: D102
    @property
    def ffn_hidden_size(self) -> int: ...  # noqa: D102
    @property
    def ffn_activation(self) -> str: ...  # noqa: D102
    @property
    def normalization(self) -> str: ...  # noqa: D102
    @property
    def additive_attention(self) -> bool: ...  # noqa: D102
    @property
    def share_qv_weights(self) -> bool: ...  # noqa: D102


GATED: dict[str, Callable[[Tensor], Tensor]] = {
    "geglu": functional.gelu,
    "reglu": functional.relu,
}
"""Activations of a feed-forward whose one half opens and shuts the other."""


class Block(nn.Module):
    """Pre-norm attention, then a feed-forward, gated (Shazeer, 2020, arXiv:2002.05202) or plain."""

    def __init__(self, width: int, options: BlockOptions) -> None:
        super().__init__()
        hidden = options.ffn_hidden_size
        self.heads = options.attention_num_heads
        self.norm = build_norm(width, options.normalization)
        self.additive = _additive(width, options)
        if self.additive is None:
            self.qkv = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)
        self.ffn_norm = build_norm(width, options.normalization)
        self.gate = GATED.get(options.ffn_activation)
        self.ffn_in = nn.Linear(width, 2 * hidden if self.gate else hidden)
        self.activate = None if self.gate else ACTIVATIONS[options.ffn_activation]()
        self.ffn_out = nn.Linear(hidden, width)
        self.attention_dropout = nn.Dropout(options.attention_dropout)
        self.residual_dropout = nn.Dropout(options.residual_dropout)
        self.ffn_dropout = nn.Dropout(options.ffn_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens float32 (batch, tokens, width) to the same shape."""
        x = x + self.residual_dropout(self._attend(self.norm(x)))
        hidden = self.ffn_in(self.ffn_norm(x))
        if self.gate is not None:
            value, gate = hidden.chunk(2, dim=-1)
            hidden = value * self.gate(gate)
        elif self.activate is not None:
            hidden = self.activate(hidden)
        mixed: Tensor = x + self.residual_dropout(self.ffn_out(self.ffn_dropout(hidden)))
        return mixed

    def _attend(self, x: Tensor) -> Tensor:
        """Attention written out: it exports to fewer nodes than the fused operator."""
        if self.additive is not None:
            added: Tensor = self.additive(x)
            return added
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(dim=2))
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        attended = self.attention_dropout(scores.softmax(dim=-1)) @ v
        mixed: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return mixed


def _additive(width: int, options: BlockOptions) -> AdditiveAttention | None:
    """The other kind of attention, where it is asked for.

    Raises:
        ConfigError: Weights are to be shared that the usual kind has not.
    """
    if options.additive_attention:
        return AdditiveAttention(
            width,
            options.attention_num_heads,
            options.attention_dropout,
            shares_weights=options.share_qv_weights,
        )
    if options.share_qv_weights:
        raise ConfigError(
            where="hyperparameter 'share_qv_weights'",
            what="queries and values share weights in additive attention alone",
            mend="Set additive_attention=true as well",
        )
    return None


def check_heads(setting: str, width: int, heads: int) -> None:
    """Refuse a width that the heads cannot share.

    Args:
        setting: Hyperparameter that says the width.
        width: Of a token.
        heads: Of the attention.

    Raises:
        ConfigError: It is no multiple of the heads.
    """
    if width % heads:
        raise ConfigError(
            where=f"hyperparameter {setting!r}",
            what=f"{width} is no multiple of {heads} heads",
            mend="Change it, or attention_num_heads",
        )
