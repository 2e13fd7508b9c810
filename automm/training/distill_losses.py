"""Losses between what a student and a teacher say of the same rows; each is 0 where they agree."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def answer_loss(
    student: Tensor, teacher: Tensor, *, divergence: bool, temperature: float = 1.0
) -> Tensor:
    """Compare logits.

    The divergence is cross-entropy less the teacher's own entropy, which no weight changes. It is
    taken times the square of the temperature, so that its gradient does not fade as that rises
    (Hinton et al., 2015, arXiv:1503.02531).

    Args:
        student: float32 (rows, classes or 1).
        teacher: Likewise.
        divergence: Kullback-Leibler of their softmax, a mean over rows; else the mean squared
            error of the logits, which no temperature changes.
        temperature: Divides the logits before the softmax.
    """
    if not divergence:
        return functional.mse_loss(student, teacher)
    ours = functional.log_softmax(student / temperature, dim=1)
    theirs = functional.log_softmax(teacher / temperature, dim=1)
    loss = functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
    return loss * temperature**2


def feature_loss(student: Tensor, teacher: Tensor, *, cosine: bool) -> Tensor:
    """Compare features, float32 (rows, width): by squared error, or by 1 minus their cosine."""
    if cosine:
        return (1 - functional.cosine_similarity(student, teacher, dim=1)).mean()
    return functional.mse_loss(student, teacher)


def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Compare the distances between rows, in units of their mean (Park et al., 2019, RKD-D).

    Args:
        student: float32 (rows, width); one row has no distances, and its loss is 0.
        teacher: float32 (rows, another width).
    """
    if len(student) < 2:
        return student.sum() * 0
    pairs = ~torch.eye(len(student), dtype=torch.bool, device=student.device)

    def distances(features: Tensor) -> Tensor:
        found: Tensor = torch.linalg.vector_norm(_differences(features), dim=2)[pairs]
        return found / found.mean().clamp(min=1e-12)  # all rows alike

    return functional.smooth_l1_loss(distances(student), distances(teacher))


def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Compare the cosines of the angles between any three rows (Park et al., 2019, RKD-A).

    Args:
        student: float32 (rows, width); two rows have no angles, and their loss is 0.
        teacher: float32 (rows, another width).
    """
    if len(student) < 3:
        return student.sum() * 0
    same = torch.eye(len(student), dtype=torch.bool, device=student.device)
    # At the corner of the first axis, between the rows of the others.
    triples = ~(same.unsqueeze(0) | same.unsqueeze(1) | same.unsqueeze(2))

    def cosines(features: Tensor) -> Tensor:
        sides = functional.normalize(_differences(features), dim=2)
        return torch.bmm(sides, sides.transpose(1, 2))[triples]

    return functional.smooth_l1_loss(cosines(student), cosines(teacher))


def _differences(features: Tensor) -> Tensor:
    """From each row to each other: float32 (rows, rows, width)."""
    return features.unsqueeze(0) - features.unsqueeze(1)
