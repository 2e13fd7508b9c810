"""``model.*``: which encoders and which fusion, and the settings of each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from automm.config.section import Count, NotNegative, Positive, Section, Share, Whole


class EncoderOptions(Section, frozen=True, kw_only=True):
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


class ClipTextOptions(EncoderOptions, frozen=True, kw_only=True):
    """Settings of ``clip_text``, the text tower of a CLIP checkpoint.

    Attributes:
        checkpoint_name: Local folder, or name on the hub; the same as ``clip_image`` has.
        max_text_len: Most tokens a row; less where the tower has fewer places.
        insert_sep: Put the end of text between two columns, which CLIP has never seen.
    """

    checkpoint_name: str = "openai/clip-vit-base-patch32"
    max_text_len: Annotated[int, Meta(ge=4)] = 77
    insert_sep: bool = False


class ClipImageOptions(EncoderOptions, frozen=True, kw_only=True):
    """Settings of ``clip_image``, the image tower of a CLIP checkpoint.

    Attributes:
        checkpoint_name: Local folder, or name on the hub; the same as ``clip_text`` has.
        image_size: Height and width in pixels; None is what the checkpoint was made for.
        max_image_num_per_column: Most pictures that are read of one cell.
    """

    checkpoint_name: str = "openai/clip-vit-base-patch32"
    image_size: Annotated[int, Meta(ge=8)] | None = None
    max_image_num_per_column: Count = 4


class CategoryOptions(EncoderOptions, frozen=True, kw_only=True):
    """What encoders of categories are told.

    Attributes:
        minimum_cat_count: A category in fewer rows counts as unseen. AutoGluon's 100 and 20
            drop whole columns of small tables without a word.
        maximum_num_cat: Most categories of a column that are known.
    """

    minimum_cat_count: Count = 2
    maximum_num_cat: Count = 1000


class FTTransformerOptions(CategoryOptions, frozen=True, kw_only=True):
    """Settings of ``ft_transformer`` (Gorishniy et al., 2021, arXiv:2106.11959)."""

    token_dim: Count = 192
    num_blocks: Whole = 3
    attention_num_heads: Count = 8
    attention_dropout: Share = 0.2
    residual_dropout: Share = 0.0
    ffn_dropout: Share = 0.1
    ffn_hidden_size: Count = 192


class NumericalMLPOptions(EncoderOptions, frozen=True, kw_only=True):
    """Settings of ``numerical_mlp``: numbers, and where they are missing, through an MLP."""

    hidden_size: Count = 128
    num_layers: Count = 1
    dropout: Share = 0.1


class CategoricalMLPOptions(CategoryOptions, frozen=True, kw_only=True):
    """Settings of ``categorical_mlp``: an embedding of each category through an MLP."""

    hidden_size: Count = 64
    num_layers: Count = 1
    dropout: Share = 0.1


class FusionOptions(Section, frozen=True, kw_only=True):
    """What every fusion is told.

    Attributes:
        adapt_in_features: Width to which each encoder's features are brought: the widest, the
            narrowest, or a number.
        lr_mult: Its learning rate, and the head's, is ``optim.lr`` times this.
        aux_loss_weight: Weight of the loss of each encoder's own head; None leaves them out.
    """

    adapt_in_features: Literal["max", "min"] | Count = "max"
    lr_mult: Positive = 1.0
    aux_loss_weight: NotNegative | None = None


class FusionMLPOptions(FusionOptions, frozen=True, kw_only=True):
    """Settings of ``fusion_mlp``: widths of its layers, and the dropout after each."""

    hidden_sizes: tuple[Count, ...] = (128,)
    dropout: Share = 0.1


class FusionTransformerOptions(FusionOptions, frozen=True, kw_only=True):
    """Settings of ``fusion_transformer``: a token for each encoder, attention, and a CLS token."""

    num_blocks: Whole = 3
    attention_num_heads: Count = 8
    attention_dropout: Share = 0.2
    residual_dropout: Share = 0.0
    ffn_dropout: Share = 0.1
    ffn_hidden_size: Count = 192


class ModelConfig(Section, frozen=True, kw_only=True):
    """Which models, and the settings of each.

    Attributes:
        names: Encoders and the fusion. Those whose kind of column the data lack are left out,
            and the fusion where one encoder is left.
        other: Settings of the encoders that other distributions bring, by name.
    """

    names: tuple[str, ...] = ("ft_transformer", "timm_image", "hf_text", "fusion_mlp")
    hf_text: HfTextOptions = HfTextOptions()
    timm_image: TimmImageOptions = TimmImageOptions()
    clip_text: ClipTextOptions = ClipTextOptions()
    clip_image: ClipImageOptions = ClipImageOptions()
    ft_transformer: FTTransformerOptions = FTTransformerOptions()
    numerical_mlp: NumericalMLPOptions = NumericalMLPOptions()
    categorical_mlp: CategoricalMLPOptions = CategoricalMLPOptions()
    fusion_mlp: FusionMLPOptions = FusionMLPOptions()
    fusion_transformer: FusionTransformerOptions = FusionTransformerOptions()
    other: dict[str, dict[str, Any]] = {}
