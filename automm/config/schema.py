"""The settings of a training run as frozen structs; the field names are AutoGluon's keys.

``optim.lr`` is ``config.optim.lr``. What stands here is what the code reads: a key that nothing
reads would be a promise that is not kept. Defaults are AutoGluon's where the meaning is the same.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from automm.config.data import DataConfig, MixupOptions
from automm.config.distiller import DistillerConfig
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
    WideOptions,
)
from automm.config.section import Count, NotNegative, Positive, Section, Whole

__all__ = [
    "CategoricalMLPOptions",
    "ClipImageOptions",
    "ClipTextOptions",
    "Config",
    "DataConfig",
    "DistillerConfig",
    "EncoderOptions",
    "EnvConfig",
    "FTTransformerOptions",
    "FocalLossOptions",
    "FusionMLPOptions",
    "FusionOptions",
    "FusionTransformerOptions",
    "HfTextOptions",
    "LoRAOptions",
    "MixupOptions",
    "ModelConfig",
    "NumericalMLPOptions",
    "OptimConfig",
    "TimmImageOptions",
    "WideOptions",
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


class LoRAOptions(Section, frozen=True, kw_only=True):
    """``optim.lora.*``; Hu et al., 2021, arXiv:2106.09685. Its filters hold for IA3 too.

    Attributes:
        module_filter: Patterns at the start of a path inside an encoder; one must match. None
            takes all.
        filter: Patterns at the start of a linear layer's own name; those that match are adapted.
            AutoGluon's, and the names in DistilBERT, CLIP, ModernBERT and timm.
        r: Rank of what is added to a weight.
        alpha: What is added is scaled by ``alpha / r``.
    """

    module_filter: tuple[str, ...] | None = None
    filter: tuple[str, ...] = (
        *("query", "value", "^q$", "^v$", "^k$", "^o$"),
        *("^q_lin$", "^v_lin$", "^q_proj$", "^v_proj$", "^qkv$", "^Wqkv$"),
    )
    r: Count = 8
    alpha: Positive = 8


class OptimConfig(Section, frozen=True, kw_only=True):
    """``optim.*``.

    Attributes:
        lr_choice: ``layerwise_decay``: lower blocks learn more slowly; ``two_stages``: fusion and
            heads learn at ``lr`` times ``lr_mult``; ``single_stage``: all at ``lr``.
        lr_decay: A block's learning rate is this times that of the block above it.
        lr_mult: See ``lr_choice``.
        peft: Train few weights of the pretrained encoders: ``lora`` and ``ia3`` beside their linear
            layers, ``bit_fit`` their biases, ``norm_fit`` and ``*_norm`` norms and biases.
        extra_trainable_params: With ``peft``, patterns of further parameters that train.
        lr_steps: Epochs after which ``multi_step`` divides the rate by ten.
        warmup_steps: In which the rate climbs: a share of all steps, or from 1 on their number.
        val_check_interval: Part of an epoch after which is validated; above 1, so many steps.
        check_val_every_n_epoch: Validate in each epoch (1), in every second one (2) and so on.
        patience: Validations without a better one after which training stops.
        log_every_n_steps: Steps between two entries of ``env.loggers``.
        track_grad_norm: 2 tells them the norm of the gradients too, -1 does not.
        top_k: Best states that are kept and averaged.
        calibrate: Divide the logits of classes by a temperature fitted on the validation rows;
            ``auto`` does. No answer changes by it, but how sure it is.
        calibrate_decision_threshold: Of two classes, fit the probability from which on the second
            one is answered; ``auto`` does so for metrics of the answers, but not for accuracy.
        loss_func: ``auto``: cross-entropy, or the mean squared error.
        class_weights: ``balanced`` weighs each class by the inverse of its share; or a weight for
            each, in the order of ``class_labels``.
        cross_modal_align: ``positive_only`` draws the features of a row's encoders together.
        cross_modal_align_weight: Of that loss.
    """

    optim_type: Literal["adamw", "adam", "sgd", "adafactor"] = "adamw"
    lr: Positive = 1e-4
    weight_decay: NotNegative = 1e-3
    peft: (
        Literal[
            "lora", "ia3", "ia3_lora", "bit_fit", "norm_fit", "lora_bias", "lora_norm",
            "ia3_bias", "ia3_norm", "ia3_lora_bias", "ia3_lora_norm", "conv_lora",
        ]
        | None
    ) = None  # fmt: skip
    lora: LoRAOptions = LoRAOptions()
    extra_trainable_params: tuple[str, ...] = ()
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
    log_every_n_steps: Count = 10
    track_grad_norm: Literal[-1, 2] = -1
    top_k: Count = 3
    top_k_average_method: Literal["greedy_soup", "uniform_soup", "best"] = "greedy_soup"
    calibrate: bool | Literal["auto"] = "auto"
    calibrate_decision_threshold: bool | Literal["auto"] = "auto"
    loss_func: Literal["auto", "focal_loss"] = "auto"
    focal_loss: FocalLossOptions = FocalLossOptions()
    class_weights: Literal["balanced"] | tuple[Positive, ...] | None = None
    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    cross_modal_align: Literal["positive_only"] | None = None
    cross_modal_align_weight: NotNegative = 0.0


class EnvConfig(Section, frozen=True, kw_only=True):
    """Where and in what portions.

    Attributes:
        batch_size: Rows that one step of the optimiser sees; gradients accumulate to it. At least
            what all devices compute at once.
        per_gpu_batch_size: Rows that are computed at once.
        inference_batch_size_ratio: As many times more rows at once in validation.
        num_gpus: Devices of this node; -1 takes every GPU, or one process on a CPU, and 0 no GPU.
        num_nodes: Machines.
        strategy: How several devices share the work; ``auto`` is DDP. The names with ``spawn`` are
            AutoGluon's; the processes are started by the command line all the same.
        deepspeed_allgather_size: Numbers that DeepSpeed gathers at once.
        deepspeed_allreduce_size: Numbers that it sums up at once.
        precision: ``16-mixed`` and ``bf16-mixed`` hold on a GPU; a CPU computes in 32 bits.
        cache_mb: Memory for decoded pictures; beyond it they are decoded in every epoch. As much
            for what frozen blocks say of each row; beyond it they are asked in every epoch.
        loggers: Of Lightning, that are told the course of training too; each needs its package.
    """

    batch_size: Count = 128
    per_gpu_batch_size: Count = 8
    inference_batch_size_ratio: Count = 4
    precision: Literal["16-mixed", "bf16-mixed", "32"] = "16-mixed"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    num_gpus: Annotated[int, Meta(ge=-1)] = -1
    num_nodes: Count = 1
    strategy: Literal[
        "auto", "ddp", "ddp_find_unused_parameters_true",
        "ddp_spawn", "ddp_spawn_find_unused_parameters_true",
        "fsdp", "fsdp_cpu_offload",
        "deepspeed_stage_1", "deepspeed_stage_2", "deepspeed_stage_2_offload",
    ] = "auto"  # fmt: skip
    deepspeed_allgather_size: Positive = 1e9
    deepspeed_allreduce_size: Positive = 1e9
    deterministic: bool = False
    cache_mb: Whole = 2048
    loggers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ()


class Config(Section, frozen=True, kw_only=True):
    """All settings of one training run."""

    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    env: EnvConfig = EnvConfig()
    data: DataConfig = DataConfig()
    distiller: DistillerConfig = DistillerConfig()
