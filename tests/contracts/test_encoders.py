import pytest

pytest.importorskip("torch")

import msgspec

from automm.models.encoders import ENCODERS, find_encoder
from automm.testing import check_encoder
from automm_serve.schema import Column
from automm_serve.tensors import take_rows
from tests.pets import pets
from tests.tiny_models import make_image_model, make_text_model

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
}


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    text = make_text_model(folder / "text", mean_pooling=True)
    return {
        "hf_text": {"checkpoint_name": str(text), "max_text_len": 32},
        "timm_image": {"checkpoint_name": str(make_image_model(folder / "image"))},
        "ft_transformer": {"token_dim": 16, "num_blocks": 1, "attention_num_heads": 2},
    }


@pytest.mark.parametrize("name", ENCODERS)
def test_keeps_the_contract(name, options, subtests):
    module = find_encoder(name)
    for what, columns in SAMPLES[name].items():
        with subtests.test(what):
            settings = msgspec.convert(options[name], module.OPTIONS)
            table = take_rows(pets(), range(5, 13))
            check_encoder(module, table, columns, settings)


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
