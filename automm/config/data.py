"""``data.*``: what is done to the rows, and what counts among their cells."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from automm.config.section import Count, NotNegative, Section, Share, Whole

Chance: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]

Template: TypeAlias = Literal["direct", "list", "text", "latex"]


class ImageDataOptions(Section, frozen=True, kw_only=True):
    """``data.image.*``.

    Attributes:
        missing_value_strategy: ``zero``: a row without a picture is trained on, its features are
            zero; ``skip``: it is left out of training. A prediction answers it either way.
    """

    missing_value_strategy: Literal["zero", "skip"] = "zero"


class CategoricalDataOptions(Section, frozen=True, kw_only=True):
    """``data.categorical.*``, for every encoder that says nothing else.

    Attributes:
        minimum_cat_count: A category in fewer rows counts as unseen. AutoGluon's 100 and 20
            drop whole columns of small tables without a word.
        maximum_num_cat: Most categories of a column that are known.
        convert_to_text: Give the categories to the encoders of text instead.
        convert_to_text_template: ``direct``: the category alone; ``list``: ``column: category``;
            ``text``: ``column is category``; ``latex``: ``category &``.
    """

    minimum_cat_count: Count = 2
    maximum_num_cat: Count = 1000
    convert_to_text: bool = False
    convert_to_text_template: Template = "latex"


class NumericalDataOptions(Section, frozen=True, kw_only=True):
    """``data.numerical.*``, for every encoder that says nothing else.

    Attributes:
        convert_to_text: Give the numbers, with three decimals, to the encoders of text instead.
        scaler_with_mean: Subtract a column's mean.
        scaler_with_std: Divide by its deviation.
    """

    convert_to_text: bool = False
    scaler_with_mean: bool = True
    scaler_with_std: bool = True


class LabelDataOptions(Section, frozen=True, kw_only=True):
    """``data.label.*``.

    Attributes:
        numerical_preprocessing: What the model learns of a label of numbers: deviations from its
            mean, its place between the least and the greatest, or (None) the number itself. The
            answers are in the label's own unit each time.
    """

    numerical_preprocessing: Literal["standardscaler", "minmaxscaler"] | None = "standardscaler"


class MixupOptions(Section, frozen=True, kw_only=True):
    """``data.mixup.*``: pairs of rows whose pictures and classes are mixed in training.

    mixup (Zhang et al., 2018, arXiv:1710.09412) blends two pictures, cutmix (Yun et al., 2019,
    arXiv:1905.04899) puts a piece of one into the other.

    Attributes:
        turn_on: Mix at all.
        mixup_alpha: Of the beta distribution of mixup's shares; 0 leaves mixup out.
        cutmix_alpha: Of cutmix's; 0 leaves cutmix out.
        cutmix_minmax: Least and greatest side of the piece, as shares of the picture's; stands
            above ``cutmix_alpha``.
        prob: Chance that a batch, pair or row is mixed.
        switch_prob: Chance of cutmix, where both are in.
        mode: One share for a ``batch``, for a ``pair`` of rows, or for each row (``elem``).
        turn_off_epoch: First epoch, from 0, in which nothing is mixed any more.
        label_smoothing: Share of a mixed target that is spread over all classes.
    """

    turn_on: bool = False
    mixup_alpha: NotNegative = 0.8
    cutmix_alpha: NotNegative = 1.0
    cutmix_minmax: tuple[Share, Share] | None = None
    prob: Share = 1.0
    switch_prob: Share = 0.5
    mode: Literal["batch", "pair", "elem"] = "batch"
    turn_off_epoch: Whole = 5
    label_smoothing: Chance = 0.1


class DataConfig(Section, frozen=True, kw_only=True):
    """``data.*``.

    Attributes:
        modality_dropout: Chance that a kind of input is taken for missing in training.
        column_features_pooling_mode: How the features of several picture columns join.
        pos_label: The class of a binary label that metrics such as ``roc_auc`` are about; the
            last one by spelling, or the greater number, where None.
    """

    image: ImageDataOptions = ImageDataOptions()
    categorical: CategoricalDataOptions = CategoricalDataOptions()
    numerical: NumericalDataOptions = NumericalDataOptions()
    label: LabelDataOptions = LabelDataOptions()
    mixup: MixupOptions = MixupOptions()
    modality_dropout: Chance = 0.0
    column_features_pooling_mode: Literal["concat"] = "concat"
    pos_label: bool | int | float | str | None = None
