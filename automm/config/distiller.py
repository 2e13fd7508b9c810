"""``distiller.*``: what a student learns from a teacher, and how much each part of it counts."""

from __future__ import annotations

from typing import Literal, TypeAlias

from automm.config.section import NotNegative, Positive, Section

Likeness: TypeAlias = Literal["", "mse", "cross_entropy"]


class DistillerConfig(Section, frozen=True, kw_only=True):
    """``distiller.*``, read where ``fit`` is given a teacher.

    Attributes:
        soft_label_loss_type: How the teacher's answers are learned: ``cross_entropy`` by the
            divergence between the classes' probabilities, ``mse`` by the squared error of what
            comes before them. Empty: the first for classes, the second for numbers.
        softmax_regression_loss_type: Likewise, of what the teacher's head says of the student's
            features.
        output_feature_loss_type: How the features are compared: by their squared error, or by 1
            minus their ``cosine``.
        temperature: Divides what becomes probabilities in the first loss; the higher, the more
            unlikely classes count.
        hard_label_weight: Of the label's own losses.
        soft_label_weight: Of the teacher's answers (Hinton et al., 2015, arXiv:1503.02531).
        softmax_regression_weight: Of the student's features under the teacher's head (Yang et al.,
            ICLR 2021).
        output_feature_loss_weight: Of the teacher's features (Romero et al., 2015,
            arXiv:1412.6550).
        rkd_distance_loss_weight: Of the distances between the rows that are computed at once (Park
            et al., 2019, arXiv:1904.05068).
        rkd_angle_loss_weight: Of the angles between any three of them.
    """

    soft_label_loss_type: Likeness = ""
    softmax_regression_loss_type: Likeness = "mse"
    output_feature_loss_type: Literal["mse", "cosine"] = "mse"
    temperature: Positive = 5.0
    hard_label_weight: NotNegative = 0.1
    soft_label_weight: NotNegative = 1.0
    softmax_regression_weight: NotNegative = 0.0
    output_feature_loss_weight: NotNegative = 0.01
    rkd_distance_loss_weight: NotNegative = 0.0
    rkd_angle_loss_weight: NotNegative = 0.0

    @property
    def reads_features(self) -> bool:
        """Whether a loss is about the teacher's features."""
        return self.projects or self.rkd_distance_loss_weight + self.rkd_angle_loss_weight > 0

    @property
    def projects(self) -> bool:
        """Whether a loss needs the student's features at the width of the teacher's."""
        return self.softmax_regression_weight + self.output_feature_loss_weight > 0
