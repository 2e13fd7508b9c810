"""The settings of a training run as frozen structs; the field names are AutoGluon's keys.

``optim.lr`` is ``config.optim.lr``. What stands here is what the code reads: a key that nothing
reads would be a promise that is not kept. Defaults are AutoGluon's where the meaning is the same.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Positive: TypeAlias = Annotated[float, Meta(gt=0)]
NotNegative: TypeAlias = Annotated[float, Meta(ge=0)]
Count: TypeAlias = Annotated[int, Meta(ge=1)]
Whole: TypeAlias = Annotated[int, Meta(ge=0)]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the configuration."""


class EncoderOptions(_Section, frozen=True, kw_only=True):
    """What every encoder is told.

    Attributes:
        lr_mult: Its learning rate is ``optim.lr`` times this.
        frozen_blocks: Blocks, counted from the input, that are not trained.
        pretrained: Load the checkpoint's weights; otherwise only its architecture.
    """

    lr_mult: Positive = 1.0
    frozen_blocks: Whole = 0
    pretrained: bool = True


class HfTextOptions(EncoderOptions, frozen=True, kw_only=True):
    """Settings of ``hf_text``; ``pooling_mode`` auto is what the checkpoint's family was made for.

    Attributes:
        checkpoint_name: Local folder, name on the hub, or name that a package stands for.
        pooling_mode: ``cls``: the first token; ``mean``: over the mask.
        max_text_len: Most tokens a row; less where the backbone takes less.
        insert_sep: Put a separator between two columns.
    """

    checkpoint_name: str = "google/electra-base-discriminator"
    pooling_mode: Literal["auto", "cls", "mean"] = "auto"
    max_text_len: Annotated[int, Meta(ge=4)] = 512
    insert_sep: bool = True


class TimmImageOptions(EncoderOptions, frozen=True, kw_only=True):
    """Settings of ``timm_image``.

    Attributes:
        checkpoint_name: Local folder, name in timm, or name that a package stands for.
        image_size: Height and width in pixels; None is what the checkpoint was made for.
        max_image_num_per_column: Most pictures that are read of one cell.
        freeze_batch_norm: Keep the statistics of batch norms as the checkpoint has them.
    """

    checkpoint_name: str = "swin_base_patch4_window7_224"
    image_size: Annotated[int, Meta(ge=8)] | None = None
    max_image_num_per_column: Count = 4
    freeze_batch_norm: bool = True


class FTTransformerOptions(EncoderOptions, frozen=True, kw_only=True):
    """Settings of ``ft_transformer`` (Gorishniy et al., 2021, arXiv:2106.11959).

    Attributes:
        minimum_cat_count: A category in fewer rows counts as unseen. AutoGluon's 100 and 20
            drop whole columns of small tables without a word.
        maximum_num_cat: Most categories of a column that are known.
    """

    token_dim: Count = 192
    num_blocks: Whole = 3
    attention_num_heads: Count = 8
    attention_dropout: Share = 0.2
    residual_dropout: Share = 0.0
    ffn_dropout: Share = 0.1
    ffn_hidden_size: Count = 192
    minimum_cat_count: Count = 2
    maximum_num_cat: Count = 1000


class FusionMLPOptions(_Section, frozen=True, kw_only=True):
    """Settings of ``fusion_mlp``.

    Attributes:
        hidden_sizes: Widths of its layers.
        dropout: After each layer.
        adapt_in_features: Width to which each encoder's features are brought: the widest, the
            narrowest, or a number.
        lr_mult: Its learning rate, and the head's, is ``optim.lr`` times this.
        aux_loss_weight: Weight of the loss of each encoder's own head; None leaves them out.
    """

    hidden_sizes: tuple[Count, ...] = (128,)
    dropout: Share = 0.1
    adapt_in_features: Literal["max", "min"] | Count = "max"
    lr_mult: Positive = 1.0
    aux_loss_weight: NotNegative | None = None


class ModelConfig(_Section, frozen=True, kw_only=True):
    """Which models, and the settings of each.

    Attributes:
        names: Encoders and the fusion. Those whose kind of column the data lack are left out,
            and the fusion where one encoder is left.
        other: Settings of the encoders that other distributions bring, by name.
    """

    names: tuple[str, ...] = ("ft_transformer", "timm_image", "hf_text", "fusion_mlp")
    hf_text: HfTextOptions = HfTextOptions()
    timm_image: TimmImageOptions = TimmImageOptions()
    ft_transformer: FTTransformerOptions = FTTransformerOptions()
    fusion_mlp: FusionMLPOptions = FusionMLPOptions()
    other: dict[str, dict[str, Any]] = {}


class OptimConfig(_Section, frozen=True, kw_only=True):
    """How the weights move.

    Attributes:
        lr_decay: A block's learning rate is this times that of the block above it.
        warmup_steps: Share of all steps in which the rate climbs.
        val_check_interval: Part of an epoch after which is validated.
        patience: Validations without a better one after which training stops.
        top_k: Best states that are kept and averaged.
    """

    optim_type: Literal["adamw"] = "adamw"
    lr: Positive = 1e-4
    weight_decay: NotNegative = 1e-3
    lr_choice: Literal["layerwise_decay", "single_stage"] = "layerwise_decay"
    lr_decay: Annotated[float, Meta(gt=0, le=1)] = 0.9
    lr_schedule: Literal["cosine_decay", "linear_decay", "constant"] = "cosine_decay"
    warmup_steps: Share = 0.1
    end_lr: NotNegative = 0.0
    max_epochs: Count = 20
    max_steps: Annotated[int, Meta(ge=-1)] = -1
    patience: Count = 10
    val_check_interval: Annotated[float, Meta(gt=0, le=1)] = 0.5
    gradient_clip_val: NotNegative = 1.0
    top_k: Count = 3
    top_k_average_method: Literal["greedy_soup", "uniform_soup", "best"] = "greedy_soup"
    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.0


class EnvConfig(_Section, frozen=True, kw_only=True):
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


class DataConfig(_Section, frozen=True, kw_only=True):
    """What is done to the rows.

    Attributes:
        modality_dropout: Chance that a kind of input is taken for missing in training.
        column_features_pooling_mode: How the features of several picture columns join.
    """

    modality_dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    column_features_pooling_mode: Literal["concat"] = "concat"


class Config(_Section, frozen=True, kw_only=True):
    """All settings of one training run."""

    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    env: EnvConfig = EnvConfig()
    data: DataConfig = DataConfig()
