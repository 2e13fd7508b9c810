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


def test_autogluon_s_clip_is_two_encoders_of_one_checkpoint():
    config = override(
        Config(),
        {
            "model.names": ["clip", "fusion_mlp"],
            "model.clip.checkpoint_name": "some/clip",
            "model.clip.image_size": 336,
            "model.clip.max_text_len": 50,
            "model.clip.max_img_num_per_col": 2,
        },
    )
    model = config.model
    assert model.names == ("clip_image", "clip_text", "fusion_mlp")
    assert {model.clip_text.checkpoint_name, model.clip_image.checkpoint_name} == {"some/clip"}
    assert (model.clip_image.image_size, model.clip_text.max_text_len) == (336, 50)
    assert model.clip_image.max_image_num_per_column == 2
    with pytest.raises(ConfigError, match=r"'model\.clip\.chekpoint_name'"):
        override(Config(), "model.clip.chekpoint_name=x")


def test_what_nothing_reads_at_autogluon_changes_nothing_here():
    assert override(Config(), "model.fusion_transformer.hidden_size=192") == Config()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.fusion_transformer.adapt_in_features", "max"),
        ("model.fusion_transformer.num_blocks", 3),
        ("model.fusion_transformer.attention_num_heads", 8),
        ("model.fusion_transformer.attention_dropout", 0.2),
        ("model.fusion_transformer.ffn_dropout", 0.1),
        ("model.fusion_transformer.ffn_hidden_size", 192),
        ("model.fusion_transformer.aux_loss_weight", None),
        ("model.categorical_mlp.hidden_size", 64),
        ("model.categorical_mlp.num_layers", 1),
        ("model.categorical_mlp.dropout", 0.1),
        ("model.numerical_mlp.hidden_size", 128),
        ("model.numerical_mlp.num_layers", 1),
        ("model.numerical_mlp.dropout", 0.1),
        ("model.clip.checkpoint_name", "openai/clip-vit-base-patch32"),
    ],
)
def test_autogluon_s_default_is_ours(key, value):
    assert override(Config(), {key: value}) == Config()
    other = "x" if isinstance(value, str) and "clip" in key else 0.5 if value is None else 1
    if value == 1:
        other = 2
    assert override(Config(), {key: other}) != Config()  # the control: the key is read
