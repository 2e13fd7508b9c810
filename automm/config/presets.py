"""Presets: named configurations, and search spaces around them. ``edge`` is the default."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import asdict, replace

from automm.config.schema import (
    Config,
    EncoderOptions,
    EnvConfig,
    FTTransformerOptions,
    FusionMLPOptions,
    HfTextOptions,
    ModelConfig,
    OptimConfig,
    TimmImageOptions,
    WideOptions,
)
from automm.config.search import Choice, LogUniform, RandInt, Range, SearchSpace
from automm_serve.errors import unknown_name

DEFAULT = "edge"
HPO = "_hpo"
"""Ending of a preset that searches."""

PROBLEM_TYPES = ("binary", "multiclass", "regression")
"""That every preset here is for: their tables differ in the label alone, and so do they for
AutoGluon, which has one preset for the three."""


class About(Struct, frozen=True, kw_only=True):
    """What is to be said of a preset beside its settings.

    Attributes:
        summary: What it is for, in a line.
        gpu: Whether one is advised for training.
        problem_types: That it is for.
    """

    summary: str
    gpu: bool
    problem_types: tuple[str, ...] = PROBLEM_TYPES


def _hub(text: str, image: str, *, lr: float = 1e-4, rows_at_once: int = 8) -> Config:
    """AutoGluon's presets for tables: the same checkpoints, which a hub must bring."""
    return Config(
        model=ModelConfig(
            hf_text=HfTextOptions(checkpoint_name=text),
            timm_image=TimmImageOptions(checkpoint_name=image),
        ),
        optim=OptimConfig(lr=lr),
        env=EnvConfig(per_gpu_batch_size=rows_at_once),
    )


PRESETS: dict[str, Config] = {
    # Small pretrained towers that install as packages and train on two cores in minutes.
    "edge": Config(
        model=ModelConfig(
            hf_text=HfTextOptions(
                checkpoint_name="sentence-transformers/all-MiniLM-L6-v2",
                max_text_len=128,
                frozen_blocks=3,  # the embeddings and two of six layers
                text_trivial_aug_maxscale=0.0,
            ),
            timm_image=TimmImageOptions(
                checkpoint_name="tf_efficientnet_lite0.in1k",
                image_size=96,
                lr_mult=1.5,
                frozen_blocks=4,  # the stem and three of seven stages
                train_transforms=("resize_shorter_side", "center_crop"),
            ),
            ft_transformer=FTTransformerOptions(token_dim=128, num_blocks=2, lr_mult=5),
            fusion_mlp=FusionMLPOptions(adapt_in_features=256, lr_mult=10),
            wide=WideOptions(use=True),
        ),
        optim=OptimConfig(lr=2e-4, lr_decay=0.9, max_epochs=4, val_check_interval=1.0),
        env=EnvConfig(batch_size=16, per_gpu_batch_size=16),
    ),
    "medium_quality": _hub("google/electra-small-discriminator", "mobilenetv3_large_100", lr=4e-4),
    "high_quality": _hub("google/electra-base-discriminator", "caformer_b36.sail_in22k_ft_in1k"),
    "best_quality": _hub(
        "microsoft/deberta-v3-base", "swin_large_patch4_window7_224", rows_at_once=1
    ),
}
"""Name -> configuration.

``edge`` is what a recorded search came to (``docs/results/search.md``). Before it, on the 391 test
rows of the emoji set (no other settings were compared on them), seeds 0 and 1: accuracy .905 and
.900, log-loss .332 and .306, in 120 s of one core. TF-IDF and one-hot with logistic regression, its
strength chosen on these very rows: .875, .438.
"""


MULTILINGUAL_IMAGE = "swin_base_patch4_window7_224"
"""AutoGluon's preset says nothing of pictures, so its default encoder reads them."""

PRESETS["multilingual"] = replace(
    _hub("microsoft/mdeberta-v3-base", MULTILINGUAL_IMAGE, rows_at_once=4),
    optim=OptimConfig(top_k=1),
    env=EnvConfig(per_gpu_batch_size=4, precision="32"),  # as AutoGluon
)

ABOUT = {
    "edge": About(
        summary="laptops and small machines; weights install as packages, no hub", gpu=False
    ),
    "medium_quality": About(summary="small encoders from the hub", gpu=False),
    "high_quality": About(summary="AutoGluon's default: base encoders from the hub", gpu=True),
    "best_quality": About(summary="large encoders from the hub", gpu=True),
    "multilingual": About(summary="texts in a hundred languages", gpu=True),
}
"""Preset -> what is to be said of it."""

_BASE: dict[str, Range] = {
    "optim.lr": LogUniform(low=1e-5, high=1e-2),
    "optim.optim_type": Choice(values=("adamw", "sgd")),
    "optim.max_epochs": RandInt(low=5, high=31),
    "env.batch_size": Choice(values=(16, 32, 64, 128, 256)),
}


def _search(texts: tuple[str, ...] = (), images: tuple[str, ...] = ()) -> SearchSpace:
    """AutoGluon's search space: its four settings, and a choice of checkpoints."""
    more: dict[str, Range] = {}
    for encoder, names in (("hf_text", texts), ("timm_image", images)):
        if names:
            more[f"model.{encoder}.checkpoint_name"] = Choice(values=names)
    return SearchSpace(ranges=_BASE | more)


SEARCHES: dict[str, SearchSpace] = {
    # Both encoders are the packages': what is searched is how they learn.
    "edge": _search(),
    "medium_quality": _search(
        (
            "google/electra-small-discriminator",
            "google/flan-t5-small",
            "microsoft/deberta-v3-xsmall",
            "albert-base-v2",
            "microsoft/MiniLM-L12-H384-uncased",
        ),
        ("mobilenetv3_large_100", "gluon_resnet18_v1b", "maxvit_rmlp_pico_rw_256.sw_in1k"),
    ),
    "high_quality": _search(
        (
            "google/electra-base-discriminator",
            "google/flan-t5-base",
            "microsoft/deberta-v3-small",
            "roberta-base",
            "albert-xlarge-v2",
        ),
        (
            "swin_base_patch4_window7_224",
            "convnext_base_in22ft1k",
            "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k",
            "caformer_b36.sail_in22k_ft_in1k",
        ),
    ),
    "best_quality": _search(
        (
            "microsoft/deberta-v3-base",
            "google/flan-t5-large",
            "google/electra-large-discriminator",
            "roberta-large",
        ),
        (
            "swin_large_patch4_window7_224",
            "eva_large_patch14_336.in22k_ft_in22k_in1k",
            "vit_large_patch14_clip_336.openai_ft_in12k_in1k",
        ),
    ),
    "multilingual": _search(),
}
"""Preset -> what its ``_hpo`` form varies."""


def preset_names() -> list[str]:
    """Return every name that ``presets`` takes: the fixed ones, then those that search."""
    return [*PRESETS, *(f"{name}{HPO}" for name in SEARCHES)]


def find_preset(name: str | None) -> Config:
    """Return the configuration of a preset, of the default one for None or ``"default"``.

    Of one that searches, it is where the search begins.

    Raises:
        ConfigError: There is no such preset.
    """
    key = DEFAULT if name in (None, "default") else str(name)
    if _stem(key) is not None:
        return find_search(key)[0]
    if key not in PRESETS:
        raise unknown_name("preset", name, preset_names())
    return PRESETS[key]


def without_weights(config: Config) -> Config:
    """Return the configuration with every encoder's architecture, and none of its weights."""
    changed = {
        name: replace(options, pretrained=False)
        for name, options in asdict(config.model).items()
        if isinstance(options, EncoderOptions)
    }
    return replace(config, model=replace(config.model, **changed))


def find_search(name: str) -> tuple[Config, SearchSpace]:
    """Return where a search begins and what it varies, for ``"medium_quality_hpo"``.

    Raises:
        ConfigError: There is no such preset, or it does not search.
    """
    stem = _stem(name)
    if stem is None:
        raise unknown_name("preset", name, [f"{one}{HPO}" for one in SEARCHES])
    config = PRESETS[stem]
    if stem == "high_quality":  # as AutoGluon: its largest candidates beside each other
        config = replace(config, env=replace(config.env, per_gpu_batch_size=2))
    return config, SEARCHES[stem]


def _stem(name: str) -> str | None:
    """The preset that a name ending in ``_hpo`` searches around; None for other names."""
    stem = name.removesuffix(HPO)
    stem = "high_quality" if stem == "default" else stem
    return stem if name.endswith(HPO) and stem in SEARCHES else None
