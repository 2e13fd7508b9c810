import pytest

pytest.importorskip("torch")

import msgspec

from automm.models.encoders import ENCODERS, find_encoder
from automm.testing import check_encoder
from automm_serve.schema import Column
from automm_serve.tensors import take_rows
from tests.pets import pets
from tests.tiny_models import (
    IMAGE_FAMILIES,
    TEXT_FAMILIES,
    make_clip_model,
    make_image_model,
    make_text_model,
)

NUMBERS = [Column("weight", "number"), Column("age", "number")]
CATEGORIES = [Column("city", "category")]
TEXTS = [Column("title", "text"), Column("story", "text")]
PICTURES = [Column("photo", "image"), Column("side", "image")]
SAMPLES = {
    "ft_transformer": {
        "both": NUMBERS + CATEGORIES,
        "numbers alone": NUMBERS,
        "categories alone": CATEGORIES,
    },
    "hf_text": {"two": TEXTS, "one": TEXTS[:1]},
    "timm_image": {"two": PICTURES, "one": PICTURES[:1]},
    "clip_text": {"two": TEXTS, "one": TEXTS[:1]},
    "clip_image": {"two": PICTURES, "one": PICTURES[:1]},
    "numerical_mlp": {"two": NUMBERS, "one": NUMBERS[:1]},
    "categorical_mlp": {"one": CATEGORIES},
}


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    text = make_text_model(folder / "text", mean_pooling=True)
    clip = str(make_clip_model(folder / "clip", spread=True))
    return {
        "hf_text": {"checkpoint_name": str(text), "max_text_len": 32},
        "timm_image": {"checkpoint_name": str(make_image_model(folder / "image"))},
        "ft_transformer": {"token_dim": 16, "num_blocks": 1, "attention_num_heads": 2},
        "clip_text": {"checkpoint_name": clip, "max_text_len": 32},
        "clip_image": {"checkpoint_name": clip, "image_size": 64},  # made for 32
        "numerical_mlp": {"hidden_size": 16, "num_layers": 2},
        "categorical_mlp": {"hidden_size": 16},
    }


@pytest.mark.parametrize("name", ENCODERS)
def test_keeps_the_contract(name, options, subtests):
    module = find_encoder(name)
    for what, columns in SAMPLES[name].items():
        with subtests.test(what):
            settings = msgspec.convert(options[name], module.OPTIONS)
            table = take_rows(pets(), range(5, 13))
            check_encoder(module, table, columns, settings)


@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_every_family_of_text_keeps_it(family, tmp_path):
    name = str(make_text_model(tmp_path / "text", family, spread=True))
    module = find_encoder("hf_text")
    given = {"checkpoint_name": name, "max_text_len": 32}
    settings = msgspec.convert(given, module.OPTIONS)
    check_encoder(module, take_rows(pets(), range(5, 9)), TEXTS, settings)


@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_every_family_of_pictures_keeps_it(family, tmp_path):
    name = str(make_image_model(tmp_path / "image", family, spread=True))
    module = find_encoder("timm_image")
    settings = msgspec.convert({"checkpoint_name": name}, module.OPTIONS)
    check_encoder(module, take_rows(pets(), range(5, 9)), PICTURES, settings)


def test_an_encoder_that_ignores_an_input_is_found(options):
    module = find_encoder("ft_transformer")
    settings = msgspec.convert(options["ft_transformer"], module.OPTIONS)

    class Blind:
        KINDS = module.KINDS
        OPTIONS = module.OPTIONS
        fit = staticmethod(module.fit)

        @staticmethod
        def build(processor, options):
            encoder = module.build(processor, options)
            for name, parameter in encoder.named_parameters():
                if name.endswith("embedding.weight"):
                    parameter.data.zero_()
            return encoder

    with pytest.raises(AssertionError, match="categories changes nothing"):
        check_encoder(Blind(), pets(8), NUMBERS + CATEGORIES, settings)
