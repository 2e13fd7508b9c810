"""Hyperparameter keys of AutoGluon that are none here: which are taken, and which are refused.

A key that this release has goes its own way; what stands here of it is not looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct

from automm_serve.errors import ConfigError

_ANY = object()


class ForeignKey(Struct, frozen=True):
    """A key that changes nothing here.

    Attributes:
        default: Of AutoGluon 1.6.3: at it nothing is asked for.
        why: Why any value is taken, or why another one than the default is refused.
        refused: Whether another value is refused.
        other_problem: Whether it is of no use in classification and regression.
        is_only_value: Whether AutoGluon has no other value either.
    """

    default: object
    why: str
    refused: bool = True
    other_problem: bool = False
    is_only_value: bool = False


def _taken(why: str) -> ForeignKey:
    return ForeignKey(None, why, refused=False)


_NO_WORKERS = _taken("rows are prepared once, in this process; there are no workers")
_COMPILE = _taken("of env.compile.turn_on, which is refused")
_LEMDA = _taken("of optim.lemda.turn_on, which is refused")
_FIXED = "the encoder is built in one way, which exports to every target"
_MERGE = ForeignKey("concat", "AutoGluon knows no other way either", is_only_value=True)
_TEXT: Mapping[str, ForeignKey] = {
    "tokenizer_name": _taken("the tokenizer is the checkpoint's own"),
    "use_fast": _taken("the fast tokenizer, which gives the same tokens and can be served"),
    "low_cpu_mem_usage": _taken("weights are loaded without a second copy in any case"),
    "text_segment_num": _taken("columns are told apart by the separator, as with 1"),
    "stochastic_chunk": ForeignKey(False, "long texts are cut at the end, in training as served"),
}
_IMAGE: Mapping[str, ForeignKey] = {
    "val_transforms": ForeignKey(
        ["resize_shorter_side", "center_crop"], "what is served is what is validated"
    ),
    "image_norm": _taken("mean and deviation are the checkpoint's own, as in AutoGluon"),
    "image_chan_num": _taken("of use_learnable_image, which is refused"),
    "use_learnable_image": ForeignKey(False, "an absent picture has features of zero"),
}


def _of(section: str, keys: Mapping[str, ForeignKey]) -> dict[str, ForeignKey]:
    return {f"{section}.{key}": found for key, found in keys.items()}


FOREIGN_KEYS: Mapping[str, ForeignKey] = {
    "env.num_workers": _NO_WORKERS,
    "env.num_workers_inference": _NO_WORKERS,
    "env.auto_select_gpus": _taken("the first free devices are taken"),
    "env.compile.turn_on": ForeignKey(False, "torch.compile is not used"),
    "env.compile.mode": _COMPILE,
    "env.compile.dynamic": _COMPILE,
    "env.compile.backend": _COMPILE,
    "optim.automatic_optimization": _taken("steps are taken by hand in any case"),
    "optim.lemda.turn_on": ForeignKey(False, "LeMDA is not done in this release"),
    **_of(
        "optim.lemda",
        dict.fromkeys(
            (
                "arch_type", "z_dim", "num_layers", "kld_weight", "mse_weight", "adv_weight",
                "consist_weight", "consist_threshold", "lr", "optim_type", "weight_decay",
            ),
            _LEMDA,
        ),
    ),
    "optim.lora.conv_lora_expert_num": ForeignKey(
        8, "Conv-LoRA is for segmentation, which this release does not do", other_problem=True
    ),
    "distiller.matches": ForeignKey(
        None, "inner layers are not compared: answers, features and relations are"
    ),
    "data.text.normalize_text": ForeignKey(False, "texts go to the tokenizer as they are"),
    **_of("model.hf_text", _TEXT),
    **_of("model.timm_image", _IMAGE),
    **_of("model.clip", {**_TEXT, **_IMAGE}),
    "model.ft_transformer.embedding_arch": ForeignKey(["linear"], _FIXED),
    "model.ft_transformer.merge": _MERGE,
    "model.ft_transformer.checkpoint_name": ForeignKey(None, "it is trained from nothing"),
    "model.numerical_mlp.token_dim": _taken("of embedding_arch, which is refused"),
    "model.numerical_mlp.embedding_arch": ForeignKey(
        None, "numbers go in as they are, one place each"
    ),
    "model.numerical_mlp.merge": _MERGE,
}  # fmt: skip
"""AutoGluon's key -> what is to be said of it."""

OTHER_SECTIONS: Mapping[str, str] = {
    "matcher": "matching",
    "data.document": "documents",
    "data.templates": "prompts of T-Few",
    "optim.mask2former_loss": "segmentation",
    "model.ner_text": "named entities",
    "model.fusion_ner": "named entities",
    "model.document_transformer": "documents",
    "model.t_few": "prompts of T-Few",
    "model.mmdet_image": "object detection",
    "model.mmocr_text_detection": "reading text in pictures",
    "model.mmocr_text_recognition": "reading text in pictures",
    "model.sam": "segmentation",
    "model.meta_transformer": "Meta-Transformer, whose weights lie on no hub",
}
"""Sections of AutoGluon for what this release does not do."""


def find_foreign(key: str) -> ForeignKey | None:
    """Return what is to be said of a key of AutoGluon; None of keys that it has not either."""
    if key in FOREIGN_KEYS:
        return FOREIGN_KEYS[key]
    for section, what in OTHER_SECTIONS.items():
        if key.startswith(f"{section}."):
            return ForeignKey(_ANY, f"it is for {what}, not done here", other_problem=True)
    return None


def is_taken(key: str, value: object, known: Collection[str]) -> bool:
    """Tell whether a key of AutoGluon is one that changes nothing here.

    Args:
        key: As it was given.
        value: Likewise.
        known: Keys that this release has: they are not looked at.

    Raises:
        ConfigError: It asks for something that this release does not do.
    """
    found = None if key in known else find_foreign(key)
    if found is None:
        return False
    if found.refused and value != found.default:
        raise ConfigError(
            where=f"hyperparameter {key!r}",
            what=f"{value!r} asks for something that this release does not do: {found.why}",
            mend="Leave it out",
        )
    return True
