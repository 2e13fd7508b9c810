"""Settings of AutoGluon that build a model in another way: each keeps the contract of encoders."""

from typing import Any

import msgspec
import pytest

pytest.importorskip("torch")

import torch

from automm.config.overrides import override
from automm.config.schema import (
    CategoricalMLPOptions,
    Config,
    FTTransformerOptions,
    FusionMLPOptions,
    FusionTransformerOptions,
    NumericalMLPOptions,
    TimmImageOptions,
)
from automm.data.processing import fit_processors
from automm.models.encoders import find_encoder, ft_transformer, timm_image
from automm.models.fusion import mlp, transformer
from automm.testing import check_encoder
from automm_serve.errors import ConfigError
from automm_serve.schema import Column, Schema
from automm_serve.tensors import Table
from tests.pets import COLOURS, picture
from tests.tiny_models import make_image_model

TABLE: Table = {
    "age": [10.0, 20.0, 30.0, None],
    "height": [1.0, 2.5, 0.5, 3.0],
    "city": ["Rome", "Oslo", "Rome", "Oslo"],
}
COLUMNS = [Column("age", "number"), Column("height", "number"), Column("city", "category")]
SMALL: dict[str, Any] = {"token_dim": 16, "num_blocks": 1, "attention_num_heads": 2}


@pytest.mark.parametrize(
    "changes",
    [
        {"ffn_activation": "reglu"},
        {"ffn_activation": "relu"},
        {"ffn_activation": "leaky_relu", "head_activation": "gelu"},
        {"normalization": "batch_norm"},
        {"pooling_mode": "mean"},
        {"additive_attention": True},
        {"additive_attention": True, "share_qv_weights": True},
    ],
)
def test_an_ft_transformer_of_other_parts_keeps_the_contract(changes):
    options = FTTransformerOptions(**SMALL, **changes)
    check_encoder(find_encoder("ft_transformer"), TABLE, COLUMNS, options)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("normalization", ["layer_norm", "batch_norm"])
def test_mlps_of_other_parts_keep_the_contract(activation, normalization):
    parts = {"activation": activation, "normalization": normalization}
    numbers, categories = find_encoder("numerical_mlp"), find_encoder("categorical_mlp")
    check_encoder(numbers, TABLE, COLUMNS[:2], NumericalMLPOptions(**parts))
    check_encoder(categories, TABLE, COLUMNS[2:], CategoricalMLPOptions(**parts))


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (mlp, FusionMLPOptions(activation="gelu", normalization="batch_norm")),
        (transformer, FusionTransformerOptions(ffn_activation="relu", head_activation="relu")),
        (transformer, FusionTransformerOptions(normalization="batch_norm")),
        (transformer, FusionTransformerOptions(additive_attention=True)),
    ],
)
def test_a_fusion_of_other_parts_answers_a_row_alone_as_among_others(module, options):
    fusion = module.build([8, 16], options).eval()
    features = [torch.randn(5, 8), torch.randn(5, 16)]
    together = fusion(features)
    alone = fusion([part[2:3] for part in features])
    torch.testing.assert_close(together[2:3], alone)


def test_shared_weights_are_of_additive_attention_alone():
    options = FTTransformerOptions(**SMALL, share_qv_weights=True)
    processor = ft_transformer.fit("p", TABLE, COLUMNS, options)
    with pytest.raises(ConfigError, match="additive_attention=true"):
        ft_transformer.build(processor, options)


def test_pictures_can_be_averaged_before_they_are_encoded(tmp_path):
    folder = str(make_image_model(tmp_path / "image"))
    red, blue = picture(COLOURS["cat"], seed=1), picture(COLOURS["dog"], seed=2)
    table: Table = {"a": [[red, blue], [blue], [red], None], "b": [red, None, blue, blue]}
    columns = [Column("a", "image"), Column("b", "image")]
    found = {}
    for choice in ("all_logits", "all_images"):
        options = TimmImageOptions(checkpoint_name=folder, image_size=32, mix_choice=choice)
        check_encoder(find_encoder("timm_image"), table, columns, options)
        processor = timm_image.fit("p", table, columns, options)
        encoder = timm_image.build(processor, options).eval()
        tensors = {k: torch.from_numpy(v) for k, v in processor.transform(table)[0].items()}
        with torch.no_grad():
            found[choice] = encoder(tensors)["features"]
    one, other = found["all_logits"], found["all_images"]
    width = one.shape[1] // 2
    torch.testing.assert_close(one[1:], other[1:], atol=1e-5, rtol=1e-4)  # one picture a column
    assert (one[0, :width] - other[0, :width]).abs().max() > 1e-3  # two of them
    assert not other[3, :width].any()  # none


def _names(config):
    processors = fit_processors(Schema(tuple(COLUMNS)), TABLE, config)
    return [list(processor.columns) for processor in processors]


def test_an_encoder_reads_the_kinds_that_data_types_names():
    two = {"model.names": ["ft_transformer", "categorical_mlp", "fusion_mlp"]}
    assert _names(override(Config(), two)) == [["age", "height", "city"], ["city"]]
    numbers = two | {"model.ft_transformer.data_types": ["numerical"]}
    assert _names(override(Config(), numbers)) == [["age", "height"], ["city"]]
    with pytest.raises(ConfigError, match=r"text is not what it reads.*categorical"):
        _names(override(Config(), two | {"model.ft_transformer.data_types": ["text"]}))


def test_an_encoder_can_be_left_out_where_a_kind_of_its_is_lacking():
    asked = {
        "model.names": ["ft_transformer", "numerical_mlp", "fusion_mlp"],
        "model.ft_transformer.requires_all_dtypes": True,
    }
    numbers = Schema(tuple(COLUMNS[:2]))
    (processor,) = fit_processors(numbers, TABLE, override(Config(), asked))
    assert processor.name == "numerical_mlp"


def test_the_options_survive_their_file():
    changed = {"model.fusion_mlp.activation": "gelu", "model.hf_text.data_types": ["text"]}
    config = override(Config(), changed)
    assert msgspec.json.decode(msgspec.json.encode(config), type=Config) == config
