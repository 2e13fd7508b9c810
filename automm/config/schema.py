"""The settings of a training run as frozen structs; the field names are AutoGluon's keys.

``optim.lr`` is ``config.optim.lr``. What stands here is what the code reads: a key that nothing
reads would be a promise that is not kept. Defaults are AutoGluon's where the meaning is the same.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from automm.config.models import (
    CategoricalMLPOptions,
    ClipImageOptions,
    ClipTextOptions,
    EncoderOptions,
    FTTransformerOptions,
    FusionMLPOptions,
    FusionOptions,
    FusionTransformerOptions,
    HfTextOptions,
    ModelConfig,
    NumericalMLPOptions,
    TimmImageOptions,
)
from automm.config.section import Count, NotNegative, Positive, Section, Share, Whole

__all__ = [
    "CategoricalMLPOptions",
    "ClipImageOptions",
    "ClipTextOptions",
    "Config",
    "DataConfig",
    "EncoderOptions",
    "EnvConfig",
    "FTTransformerOptions",
    "FocalLossOptions",
    "FusionMLPOptions",
    "FusionOptions",
    "FusionTransformerOptions",
    "HfTextOptions",
    "ModelConfig",
    "NumericalMLPOptions",
    "OptimConfig",
    "TimmImageOptions",
]


class FocalLossOptions(Section, frozen=True, kw_only=True):
    """``optim.focal_loss.*``; Lin et al., 2017, arXiv:1708.02002.

    Attributes:
        alpha: Weight of each class, in the order of ``class_labels``; None weighs all alike.
        gamma: How much less an example counts that is already told well; 0 is cross-entropy.
        reduction: Over the rows of a batch.
    """

    alpha: tuple[Positive, ...] | None = None
    gamma: NotNegative = 2.0
    reduction: Literal["mean", "sum"] = "mean"


class OptimConfig(Section, frozen=True, kw_only=True):
    """``optim.*``.

    Attributes:
        lr_choice: ``layerwise_decay``: lower blocks learn more slowly; ``two_stages``: fusion and
            heads learn at ``lr`` times ``lr_mult``; ``single_stage``: all at ``lr``.
        lr_decay: A block's learning rate is this times that of the block above it.
        lr_mult: See ``lr_choice``.
        lr_steps: Epochs after which ``multi_step`` divides the rate by ten.
        warmup_steps: In which the rate climbs: a share of all steps, or from 1 on their number.
        val_check_interval: Part of an epoch after which is validated; above 1, so many steps.
        check_val_every_n_epoch: Validate in each epoch (1), in every second one (2) and so on.
        patience: Validations without a better one after which training stops.
        top_k: Best states that are kept and averaged.
        loss_func: ``auto``: cross-entropy, or the mean squared error.
        class_weights: ``balanced`` weighs each class by the inverse of its share; or a weight for
            each, in the order of ``class_labels``.
    """

    optim_type: Literal["adamw", "adam", "sgd", "adafactor"] = "adamw"
    lr: Positive = 1e-4
    weight_decay: NotNegative = 1e-3
    lr_choice: Literal["layerwise_decay", "two_stages", "single_stage"] = "layerwise_decay"
    lr_decay: Annotated[float, Meta(gt=0, le=1)] = 0.9
    lr_mult: Positive = 1.0
    lr_schedule: Literal[
        "cosine_decay", "polynomial_decay", "linear_decay", "multi_step", "constant"
    ] = "cosine_decay"
    lr_steps: tuple[Count, ...] = (30, 55)
    warmup_steps: NotNegative = 0.1
    end_lr: NotNegative = 0.0
    max_epochs: Count = 20
    max_steps: Annotated[int, Meta(ge=-1)] = -1
    patience: Count = 10
    val_check_interval: Positive = 0.5
    check_val_every_n_epoch: Count = 1
    skip_final_val: bool = False
    gradient_clip_val: NotNegative = 1.0
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    top_k: Count = 3
    top_k_average_method: Literal["greedy_soup", "uniform_soup", "best"] = "greedy_soup"
    loss_func: Literal["auto", "focal_loss"] = "auto"
    focal_loss: FocalLossOptions = FocalLossOptions()
    class_weights: Literal["balanced"] | tuple[Positive, ...] | None = None
    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.0


class EnvConfig(Section, frozen=True, kw_only=True):
    """Where and in what portions.

    Attributes:
        batch_size: Rows that one step of the optimiser sees; gradients accumulate to it.
        per_gpu_batch_size: Rows that are computed at once.
        inference_batch_size_ratio: As many times more rows at once in validation.
        precision: ``16-mixed`` and ``bf16-mixed`` hold on a GPU; a CPU computes in 32 bits.
        cache_mb: Memory for decoded pictures; beyond it they are decoded in every epoch.
    """

    batch_size: Count = 128
    per_gpu_batch_size: Count = 8
    inference_batch_size_ratio: Count = 4
    precision: Literal["16-mixed", "bf16-mixed", "32"] = "16-mixed"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    deterministic: bool = False
    cache_mb: Whole = 2048


class DataConfig(Section, frozen=True, kw_only=True):
    """What is done to the rows.

    Attributes:
        modality_dropout: Chance that a kind of input is taken for missing in training.
        column_features_pooling_mode: How the features of several picture columns join.
    """

    modality_dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    column_features_pooling_mode: Literal["concat"] = "concat"


class Config(Section, frozen=True, kw_only=True):
    """All settings of one training run."""

    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    env: EnvConfig = EnvConfig()
    data: DataConfig = DataConfig()
