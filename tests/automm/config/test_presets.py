"""Presets, their checkpoints and their search spaces."""

import msgspec
import pytest

from automm.config.checkpoints import CHECKPOINTS, hub_name
from automm.config.overrides import keys_of, override
from automm.config.presets import ABOUT, PRESETS, SEARCHES, find_preset, find_search, preset_names
from automm.config.schema import Config
from automm.config.search import Choice, LogUniform, RandInt, SearchSpace
from automm_serve.errors import ConfigError

# Texts, pictures, and what else differs from the defaults: from the peer's own table.
PEER: dict[str, tuple[str, str, dict[str, object]]] = {
    "medium_quality": (
        "google/electra-small-discriminator",
        "mobilenetv3_large_100",
        {"optim.lr": 4e-4},
    ),
    "high_quality": ("google/electra-base-discriminator", "caformer_b36.sail_in22k_ft_in1k", {}),
    "best_quality": (
        "microsoft/deberta-v3-base",
        "swin_large_patch4_window7_224",
        {"env.per_gpu_batch_size": 1},
    ),
    "multilingual": (
        "microsoft/mdeberta-v3-base",
        "swin_base_patch4_window7_224",
        {"optim.top_k": 1, "env.precision": "32", "env.per_gpu_batch_size": 4},
    ),
}


@pytest.mark.parametrize("name", PEER)
def test_a_preset_of_autogluon_is_its_checkpoints_and_nothing_else(name):
    text, image, others = PEER[name]
    changed: dict[str, object] = {
        "model.hf_text.checkpoint_name": text,
        "model.timm_image.checkpoint_name": image,
    }
    assert find_preset(name) == override(Config(), changed | others)


def test_the_default_is_edge_under_each_of_its_names():
    assert find_preset(None) == find_preset("default") == find_preset("edge")


def test_every_preset_has_a_line_and_a_search_space():
    assert set(ABOUT) == set(PRESETS) == set(SEARCHES)
    assert len(preset_names()) == 2 * len(PRESETS)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_space_varies_settings_that_exist_by_values_that_fit(name):
    config, space = find_search(f"{name}_hpo")
    assert (space.searcher, space.scheduler, space.num_trials) == ("bayes", "ASHA", 512)
    assert set(space.ranges) <= set(keys_of(Config()))
    for key, found in space.ranges.items():
        ends = found.values if isinstance(found, Choice) else (found.low, found.high)
        for value in ends:
            override(config, {key: value})
    assert msgspec.json.decode(msgspec.json.encode(space), type=SearchSpace) == space


def test_a_preset_that_searches_begins_where_its_fixed_one_is():
    assert find_preset("best_quality_hpo") == find_preset("best_quality")
    assert find_preset("default_hpo") == find_search("high_quality_hpo")[0]
    with pytest.raises(ConfigError, match="'best_quality_hpo'"):
        find_search("best_qality_hpo")


@pytest.mark.parametrize(
    "space",
    [
        {"ranges": {}},
        {"ranges": {"optim.lr": {"type": "choice", "values": []}}},
        {"ranges": {"optim.lr": {"type": "loguniform", "low": 1.0, "high": 0.1}}},
        {"ranges": {"optim.lr": {"type": "loguniform", "low": 0.0, "high": 0.1}}},
        {"ranges": {"optim.lr": {"type": "guess"}}},
    ],
)
def test_an_empty_or_impossible_search_space_is_refused(space):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(space, SearchSpace)


def test_every_checkpoint_that_a_preset_names_is_known():
    named = {
        getattr(config.model, encoder).checkpoint_name
        for config in PRESETS.values()
        for encoder in ("hf_text", "timm_image")
    }
    for space in SEARCHES.values():
        for key, found in space.ranges.items():
            if key.endswith("checkpoint_name") and isinstance(found, Choice):
                named |= set(found.values)
    assert named <= CHECKPOINTS.keys()


def test_the_hub_knows_a_timm_model_under_an_owner():
    assert hub_name("mobilenetv3_large_100") == "timm/mobilenetv3_large_100.ra_in1k"
    assert hub_name("resnet18.a1_in1k") == "timm/resnet18.a1_in1k"
    assert hub_name("google/electra-small-discriminator") == "google/electra-small-discriminator"


IMAGES = [n for n, one in CHECKPOINTS.items() if one.kind == "image" and one.parameters < 20e6]


@pytest.mark.parametrize("name", IMAGES)
def test_picture_encoders_have_so_many_weights(name):
    torch = pytest.importorskip("torch")
    from automm.models.encoders.torchvision_stub import declare_missing_operators

    declare_missing_operators()
    import timm

    with torch.device("meta"):  # shapes alone: no memory, no weights
        model = timm.create_model(name, num_classes=0)
    assert sum(p.numel() for p in model.parameters()) == CHECKPOINTS[name].parameters


def test_a_logarithmic_range_is_what_it_says():
    _, space = find_search("edge_hpo")
    assert space.ranges["optim.lr"] == LogUniform(low=1e-5, high=1e-2)
    assert space.ranges["optim.max_epochs"] == RandInt(low=5, high=31)  # 5 to 30
