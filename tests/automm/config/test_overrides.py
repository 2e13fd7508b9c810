import msgspec
import pytest

from automm.config.overrides import override
from automm.config.presets import PRESETS, find_preset
from automm.config.schema import Config
from automm_serve.errors import ConfigError


@pytest.mark.parametrize(
    "given",
    [
        {"optim.lr": 0.01, "model.names": ["hf_text"], "model.timm_image.image_size": None},
        {
            "optim": {"lr": 0.01},
            "model": {"names": ["hf_text"], "timm_image": {"image_size": None}},
        },
        ["optim.lr=0.01", "model.names=[hf_text]", "model.timm_image.image_size=None"],
        "optim.lr=1e-2 model.names=hf_text model.timm_image.image_size=none",
    ],
)
def test_every_way_of_writing_gives_the_same_settings(given):
    config = override(find_preset("edge"), given)
    assert config.optim.lr == 0.01
    assert config.model.names == ("hf_text",)
    assert config.model.timm_image.image_size is None
    assert config.optim.top_k == find_preset("edge").optim.top_k


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("optim.lrr=1", "'optim.lr'"),
        ("model.hf_txt.max_text_len=8", "'model.hf_text.max_text_len'"),
        ("optim.max_epochs=many", "'many' does not fit: Expected `int`"),
        ("optim.lr=-1", "> 0"),
        ("optim.top_k_average_method=soup", "Invalid enum value"),
        ("optim.lr", "no '='"),
    ],
)
def test_a_wrong_setting_is_named_and_the_nearest_is_offered(given, says):
    with pytest.raises(ConfigError, match=says):
        override(Config(), given)


def test_names_of_old_releases_mean_what_they_mean_today():
    config = override(
        Config(),
        {"optimization.learning_rate": 0.5, "optimization.patience": 3, "env.precision": 32},
    )
    assert (config.optim.lr, config.optim.patience, config.env.precision) == (0.5, 3, "32")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_its_file(name):
    config = find_preset(name)
    assert msgspec.json.decode(msgspec.json.encode(config), type=Config) == config


def test_a_misspelt_preset_is_named():
    with pytest.raises(ConfigError, match="'medium_quality'"):
        find_preset("medium_qualty")


def test_a_quotation_that_is_left_open_is_refused():
    with pytest.raises(ConfigError, match="No closing quotation"):
        override(Config(), "optim.lr='1")
