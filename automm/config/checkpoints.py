"""What is known of the pretrained checkpoints that presets name, without asking for them."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Checkpoint(Struct, frozen=True):
    """A checkpoint of a hub.

    Attributes:
        kind: Of the columns that it reads.
        parameters: Of the encoder, its head for other classes left out.
        hub: Its repository on the hub.
    """

    kind: Literal["text", "image"]
    parameters: int
    hub: str = ""

    @property
    def megabytes(self) -> float:
        """Size in float32, in 1e6 bytes."""
        return self.parameters * 4 / 1e6


def _text(parameters: int, hub: str = "") -> Checkpoint:
    return Checkpoint("text", parameters, hub)


def _image(parameters: int, hub: str) -> Checkpoint:
    return Checkpoint("image", parameters, hub)


# Counted on the architectures, which need no weights; a test counts again.
CHECKPOINTS = {
    "sentence-transformers/all-MiniLM-L6-v2": _text(22_713_216),
    "google/electra-small-discriminator": _text(13_483_008),
    "google/electra-base-discriminator": _text(108_891_648),
    "google/electra-large-discriminator": _text(334_092_288),
    "microsoft/deberta-v3-xsmall": _text(70_682_112),
    "microsoft/deberta-v3-small": _text(141_304_320),
    "microsoft/deberta-v3-base": _text(183_831_552),
    "microsoft/mdeberta-v3-base": _text(278_218_752),
    "microsoft/MiniLM-L12-H384-uncased": _text(33_360_000),
    "roberta-base": _text(124_645_632, "FacebookAI/roberta-base"),
    "roberta-large": _text(355_359_744, "FacebookAI/roberta-large"),
    "albert-base-v2": _text(11_683_584, "albert/albert-base-v2"),
    "albert-xlarge-v2": _text(58_724_864, "albert/albert-xlarge-v2"),
    "google/flan-t5-small": _text(35_332_800),
    "google/flan-t5-base": _text(109_628_544),
    "google/flan-t5-large": _text(341_231_104),
    "tf_efficientnet_lite0.in1k": _image(3_371_008, "timm/tf_efficientnet_lite0.in1k"),
    "mobilenetv3_large_100": _image(4_202_032, "timm/mobilenetv3_large_100.ra_in1k"),
    "gluon_resnet18_v1b": _image(11_176_512, "timm/resnet18.gluon_in1k"),
    "maxvit_rmlp_pico_rw_256.sw_in1k": _image(7_258_980, "timm/maxvit_rmlp_pico_rw_256.sw_in1k"),
    "caformer_b36.sail_in22k_ft_in1k": _image(93_312_102, "timm/caformer_b36.sail_in22k_ft_in1k"),
    "convnext_base_in22ft1k": _image(87_566_464, "timm/convnext_base.fb_in22k_ft_in1k"),
    "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k": _image(
        85_799_424, "timm/vit_base_patch16_clip_224.laion2b_ft_in12k_in1k"
    ),
    "swin_base_patch4_window7_224": _image(
        86_743_224, "timm/swin_base_patch4_window7_224.ms_in22k_ft_in1k"
    ),
    "swin_large_patch4_window7_224": _image(
        194_995_476, "timm/swin_large_patch4_window7_224.ms_in22k_ft_in1k"
    ),
    "eva_large_patch14_336.in22k_ft_in22k_in1k": _image(
        303_506_432, "timm/eva_large_patch14_336.in22k_ft_in22k_in1k"
    ),
    "vit_large_patch14_clip_336.openai_ft_in12k_in1k": _image(
        303_507_456, "timm/vit_large_patch14_clip_336.openai_ft_in12k_in1k"
    ),
}
"""Name in ``checkpoint_name`` -> facts."""


def hub_name(name: str) -> str:
    """Return a checkpoint's repository on the hub; timm's names have no owner in front."""
    known = CHECKPOINTS.get(name)
    if known is not None and known.hub:
        return known.hub
    return name if "/" in name else f"timm/{name}"
