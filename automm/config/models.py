"""``model.*``: which encoders and which fusion, and the settings of each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, field

from automm.config.section import Count, NotNegative, Positive, Section, Share, Whole

DataType: TypeAlias = Literal["image", "text", "categorical", "numerical"]
Activation: TypeAlias = Literal["leaky_relu", "relu", "gelu"]
FFNActivation: TypeAlias = Literal["geglu", "reglu", "gelu", "relu", "leaky_relu"]
Normalization: TypeAlias = Literal["layer_norm", "batch_norm"]


class EncoderOptions(Section, frozen=True, kw_only=True):
    """What every encoder is told.

    Attributes:
        lr_mult: Its learning rate is ``optim.lr`` times this.
        frozen_blocks: Blocks, counted from the input, that are not trained.
        pretrained: Load the checkpoint's weights; otherwise only its architecture.
        data_types: Kinds of column that it reads, of those that it can read; all where None.
    """

    lr_mult: Positive = 1.0
    frozen_blocks: Whole = 0
    pretrained: bool = True
    data_types: tuple[DataType, ...] | None = None


class HfTextOptions(EncoderOptions, frozen=True, kw_only=True):
    """Settings of ``hf_text``; ``pooling_mode`` auto is what the checkpoint's family was made for.

    Attributes:
        checkpoint_name: Local folder, name on the hub, or name that a package stands for.
        pooling_mode: ``cls``: the first token; ``mean``: over the mask.
        max_text_len: Most tokens a row; less where the backbone takes less.
        insert_sep: Put a separator between two columns.
        gradient_checkpointing: Recompute inner values in the backward pass: less memory, more time.
        text_trivial_aug_maxscale: Greatest share of a text's words that a training step changes;
            0 changes none.
        text_aug_detect_length: Words from which on a text is changed.
        text_train_augment_types: Of ``random_swap``, ``random_delete``, ``random_case`` and
            ``insert_punc``; with a share of its own as in ``random_swap(0.05)``. All where None.
    """

    checkpoint_name: str = "google/electra-base-discriminator"
    pooling_mode: Literal["auto", "cls", "mean"] = "auto"
    max_text_len: Annotated[int, Meta(ge=4)] = 512
    insert_sep: bool = True
    gradient_checkpointing: bool = False
    text_trivial_aug_maxscale: Share = 0.1
    text_aug_detect_length: Count = 10
    text_train_augment_types: tuple[str, ...] | None = None


class TimmImageOptions(EncoderOptions, frozen=True, kw_only=True):
    """Settings of ``timm_image``.

    Attributes:
        checkpoint_name: Local folder, name in timm, or name that a package stands for.
        image_size: Height and width in pixels; None is what the checkpoint was made for.
        max_image_num_per_column: Most pictures that are read of one cell.
        freeze_batch_norm: Keep the statistics of batch norms as the checkpoint has them.
        gradient_checkpointing: Recompute inner values in the backward pass: less memory, more time.
        train_transforms: What is done to the pictures of training rows, in this order; see
            ``automm.training.augment_pictures.TRANSFORMS``.
        mix_choice: Of several pictures of a column, ``all_logits`` averages the features,
            ``all_images`` the pictures themselves.
    """

    checkpoint_name: str = "swin_base_patch4_window7_224"
    mix_choice: Literal["all_logits", "all_images"] = "all_logits"
    image_size: Annotated[int, Meta(ge=8)] | None = None
    max_image_num_per_column: Count = 4
    freeze_batch_norm: bool = True
    gradient_checkpointing: bool = False
    train_transforms: tuple[str, ...] = ("resize_shorter_side", "center_crop", "trivial_augment")


class ClipTextOptions(EncoderOptions, frozen=True, kw_only=True):
    """Settings of ``clip_text``, the text tower of a CLIP checkpoint.

    Attributes:
        checkpoint_name: Local folder, or name on the hub; the same as ``clip_image`` has.
        max_text_len: Most tokens a row; less where the tower has fewer places.
        insert_sep: Put the end of text between two columns, which CLIP has never seen.
        text_trivial_aug_maxscale: As in ``hf_text``.
        text_aug_detect_length: As in ``hf_text``.
        text_train_augment_types: As in ``hf_text``.
    """

    checkpoint_name: str = "openai/clip-vit-base-patch32"
    max_text_len: Annotated[int, Meta(ge=4)] = 77
    insert_sep: bool = False
    text_trivial_aug_maxscale: Share = 0.0
    text_aug_detect_length: Count = 10
    text_train_augment_types: tuple[str, ...] | None = None


class ClipImageOptions(EncoderOptions, frozen=True, kw_only=True):
    """Settings of ``clip_image``, the image tower of a CLIP checkpoint.

    Attributes:
        checkpoint_name: Local folder, or name on the hub; the same as ``clip_text`` has.
        image_size: Height and width in pixels; None is what the checkpoint was made for.
        max_image_num_per_column: Most pictures that are read of one cell.
        train_transforms: As in ``timm_image``.
    """

    checkpoint_name: str = "openai/clip-vit-base-patch32"
    image_size: Annotated[int, Meta(ge=8)] | None = None
    max_image_num_per_column: Count = 4
    train_transforms: tuple[str, ...] = ("resize_shorter_side", "center_crop", "trivial_augment")


class TabularOptions(EncoderOptions, frozen=True, kw_only=True):
    """What encoders of numbers and categories are told; None is what ``data.*`` says.

    Attributes:
        minimum_cat_count: A category in fewer rows counts as unseen.
        maximum_num_cat: Most categories of a column that are known.
        scaler_with_mean: Subtract a column's mean.
        scaler_with_std: Divide by its deviation.
    """

    minimum_cat_count: Count | None = None
    maximum_num_cat: Count | None = None
    scaler_with_mean: bool | None = None
    scaler_with_std: bool | None = None


class FTTransformerOptions(TabularOptions, frozen=True, kw_only=True):
    """Settings of ``ft_transformer`` (Gorishniy et al., 2021, arXiv:2106.11959).

    Attributes:
        pooling_mode: The features are those of the CLS token, or the mean of all tokens.
        head_activation: Of the features; None leaves them as they are.
        requires_all_dtypes: Leave it out where the table has not both numbers and categories.
    """

    token_dim: Count = 192
    num_blocks: Whole = 3
    attention_num_heads: Count = 8
    attention_dropout: Share = 0.2
    residual_dropout: Share = 0.0
    ffn_dropout: Share = 0.1
    ffn_hidden_size: Count = 192
    ffn_activation: FFNActivation = "geglu"
    normalization: Normalization = "layer_norm"
    additive_attention: bool = False
    share_qv_weights: bool = False
    pooling_mode: Literal["cls", "mean"] = "cls"
    head_activation: Activation | None = None
    requires_all_dtypes: bool = False


class NumericalMLPOptions(TabularOptions, frozen=True, kw_only=True):
    """Settings of ``numerical_mlp``: numbers, and where they are missing, through an MLP."""

    hidden_size: Count = 128
    num_layers: Count = 1
    dropout: Share = 0.1
    activation: Activation = "leaky_relu"
    normalization: Normalization = "layer_norm"


class CategoricalMLPOptions(TabularOptions, frozen=True, kw_only=True):
    """Settings of ``categorical_mlp``: an embedding of each category through an MLP."""

    hidden_size: Count = 64
    num_layers: Count = 1
    dropout: Share = 0.1
    activation: Activation = "leaky_relu"
    normalization: Normalization = "layer_norm"


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
    activation: Activation = "leaky_relu"
    normalization: Normalization = "layer_norm"


class FusionTransformerOptions(FusionOptions, frozen=True, kw_only=True):
    """Settings of ``fusion_transformer``: a token for each encoder, attention, and a CLS token.

    Attributes:
        head_activation: Of what is fused; None leaves it as it is.
    """

    num_blocks: Whole = 3
    attention_num_heads: Count = 8
    attention_dropout: Share = 0.2
    residual_dropout: Share = 0.0
    ffn_dropout: Share = 0.1
    ffn_hidden_size: Count = 192
    ffn_activation: FFNActivation = "geglu"
    normalization: Normalization = "layer_norm"
    additive_attention: bool = False
    share_qv_weights: bool = False
    head_activation: Activation | None = None


class WideOptions(Section, frozen=True, kw_only=True):
    """``model.wide.*``: a linear model beside the network, whose logits are added.

    Wide & Deep (Cheng et al., 2016, arXiv:1606.07792).

    Attributes:
        use: Fit one to the tokens, categories and numbers that encoders read, where it foretells
            rows that it has not learnt from.
    """

    use: bool = False


def family_of(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that this one is, or is with a suffix; None where there is none.

    ``hf_text_a`` and ``hf_text_b`` are two encoders of the family ``hf_text``.
    """
    found = [family for family in known if name == family or name.startswith(f"{family}_")]
    return max(found, key=len, default=None)


class ModelConfig(Section, frozen=True, kw_only=True):
    """Which models, and the settings of each.

    Attributes:
        names: Encoders and the fusion. Those whose kind of column the data lack are left out,
            and the fusion where one encoder is left. With suffixes two of a kind stand side by
            side: ``hf_text_a``, ``hf_text_b``.
        other: Settings of the encoders that other distributions bring, and of encoders with a
            suffix where they differ from their family's, by name.
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
    wide: WideOptions = WideOptions()
    other: dict[str, dict[str, Any]] = field(default_factory=dict)
