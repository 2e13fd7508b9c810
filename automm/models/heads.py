"""Heads turn features into logits, one a class, or one number."""

from __future__ import annotations

from torch import nn

from automm_serve.answers import AnyAnswer, ClassesAnswer


def build_head(width: int, answer: AnyAnswer) -> nn.Linear:
    """Build the head that an answer needs over features of this width."""
    head = nn.Linear(width, logits_of(answer))
    # Small, so that training starts from near the trivial predictor and not from a wild guess.
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head


def logits_of(answer: AnyAnswer) -> int:
    """Return the number of logits that an answer needs."""
    return len(answer.classes) if isinstance(answer, ClassesAnswer) else 1
