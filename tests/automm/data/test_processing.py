import msgspec
import pytest
from tokenizers import Tokenizer

pytest.importorskip("torch")

from automm.config.overrides import override
from automm.config.schema import Config
from automm.data.processing import fit_processors
from automm_serve.errors import ConfigError
from automm_serve.processors import AnyProcessor
from automm_serve.schema import Column, Schema
from automm_serve.tensors import Table
from tests.pets import pets
from tests.tiny_models import make_text_model

TABLE: Table = {**pets(40), "rare": [*["often"] * 37, "once", "twice", "twice"]}
NUMBERS = (Column("weight", "number"), Column("age", "number"))
CATEGORIES = (Column("city", "category"), Column("rare", "category"))
TEXTS = (Column("story", "text"),)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(make_text_model(tmp_path_factory.mktemp("text")))


def fitted(columns, settings, checkpoint=""):
    config = override(Config(), {"model.hf_text.checkpoint_name": checkpoint, **settings})
    found = fit_processors(Schema(tuple(columns)), TABLE, config)
    return {processor.name: processor for processor in found}


def test_categories_are_known_by_the_rules_of_the_data_or_of_an_encoder():
    def known(**settings):
        (found,) = fitted(CATEGORIES, {"model.names": ["ft_transformer"], **settings}).values()
        return found.categories[1].known

    assert known() == ("often", "twice")
    assert known(**{"data.categorical.minimum_cat_count": 1}) == ("often", "once", "twice")
    assert known(**{"data.categorical.minimum_cat_count": 5}) == ("often",)
    assert known(**{"data.categorical.maximum_num_cat": 1}) == ("often",)
    own = {"data.categorical.minimum_cat_count": 5, "model.ft_transformer.minimum_cat_count": 1}
    assert known(**own) == ("often", "once", "twice")


def test_numbers_and_categories_are_put_into_words_by_the_processor_of_texts(checkpoint):
    settings = {
        "data.categorical.convert_to_text": True,
        "data.categorical.convert_to_text_template": "text",
        "data.numerical.convert_to_text": True,
    }
    found = fitted((*NUMBERS, *CATEGORIES, *TEXTS), settings, checkpoint)
    assert list(found) == ["hf_text"]
    processor = found["hf_text"]
    assert processor.columns == ("weight", "age", "city", "rare", "story")
    cells = {"weight": [2, None], "age": [1.23456, 7.0], "city": [None, 3.0]}
    cells |= {"rare": ["red", True], "story": ["the cat", None]}
    worded = {"weight": ["2.000", ""], "age": ["1.235", "7.000"], "city": ["", "city is 3"]}
    worded |= {"rare": ["rare is red", "rare is true"], "story": ["the cat", ""]}
    ids = processor.transform(cells)[0]["hf_text_ids"]
    tokenizer = Tokenizer.from_str(bytes(processor.tokenizer).decode())
    for row in range(2):
        expected = list(processor.start)
        for place, texts in enumerate(worded.values()):
            expected += processor.separator if place else ()
            expected += tokenizer.encode(texts[row], add_special_tokens=False).ids
        expected += processor.end
        assert ids[row, : len(expected)].tolist() == expected
    again = msgspec.json.decode(msgspec.json.encode(processor), type=AnyProcessor)
    assert again == processor


@pytest.mark.parametrize(
    ("template", "text"),
    [("direct", "red"), ("list", "city: red"), ("text", "city is red"), ("latex", "red & ")],
)
def test_the_templates_are_those_of_autogluon(template, text, checkpoint):
    settings = {"data.categorical.convert_to_text": True}
    settings["data.categorical.convert_to_text_template"] = template
    processor = fitted(CATEGORIES[:1], settings, checkpoint)["hf_text"]
    assert processor.wordings[0].say("red") == text


def test_a_cell_that_is_no_number_fails_though_it_would_be_a_text(checkpoint):
    settings = {"data.numerical.convert_to_text": True, "model.names": ["hf_text"]}
    processor = fitted(NUMBERS, settings, checkpoint)["hf_text"]
    _, errors = processor.transform({"weight": [1, "heavy"], "age": [None, float("inf")]})
    assert [(e.row, e.column) for e in errors] == [(1, "weight"), (1, "age")]


def test_encoders_of_one_kind_stand_side_by_side_by_suffix(checkpoint):
    settings = {
        "model.names": ["hf_text_a", "hf_text_b"],
        "model.hf_text_a.max_text_len": 24,
        "model.hf_text_b.insert_sep": False,
    }
    found = fitted((*TEXTS, Column("title", "text")), settings, checkpoint)
    assert list(found) == ["hf_text_a", "hf_text_b"]
    assert [found[name].limit for name in found] == [24, 64]
    assert [bool(found[name].separator) for name in found] == [True, False]
    assert found["hf_text_a"].columns == found["hf_text_b"].columns


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model.names": ["hf_text", "hf_text"]}, "twice.*hf_text_a"),
        ({"model.hf_text_c.max_text_len": 8}, "model.names has no 'hf_text_c'"),
        ({"model.names": ["numerical_mlp"]}, "no model of numerical_mlp reads"),
    ],
)
def test_names_that_do_not_fit_together_are_an_error(settings, says, checkpoint):
    with pytest.raises(ConfigError, match=says):
        fitted(TEXTS, settings, checkpoint)
