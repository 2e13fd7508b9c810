"""The table of AutoGluon's names: what it says is what is there."""

import inspect

import msgspec
import pytest

pytest.importorskip("torch")

from automm.config.unsupported import UNSUPPORTED, refuse_unsupported
from automm.predictor import MultiModalPredictor
from automm_serve.errors import ConfigError
from scripts import migrating
from scripts.migrating import FACTS, PAGE, Row, check, page, rows, share

LEAST = 0.95
"""Of the names that concern classification and regression."""


@pytest.fixture(scope="module")
def found():
    return rows()


def test_the_page_is_what_the_signatures_and_settings_give():
    assert PAGE.read_text() == page(), "python -m scripts.migrating"


def test_nearly_all_that_concerns_us_is_the_same_or_mapped(found):
    refused = [row.name for row in found if row.ours and row.status == "refused"]
    assert share(found) >= LEAST, refused


def test_every_row_of_a_setting_is_true(found):
    assert not check(found)


def test_a_claim_that_is_not_true_is_found(found):
    wrong = [
        Row("Hyperparameters", "`optim.lr`", "refused", "no rates here"),
        Row("Hyperparameters", "`env.compile.turn_on`", "refused", "another reason"),
        Row("Hyperparameters", "`optim.nothing`", "refused", "not there"),
    ]
    facts = msgspec.json.decode(FACTS.read_bytes())["hyperparameters"]
    assert "optim.nothing" not in facts
    assert len(check(wrong)) == 2  # a name that nobody has is refused, as it says


def test_no_name_is_left_out(found):
    facts = msgspec.json.decode(FACTS.read_bytes())
    names = {row.name for row in found}
    assert len(names) == len(found)
    assert {f"`{key}`" for key in facts["hyperparameters"]} <= names
    for call, parameters in facts["methods"].items():
        called = "MultiModalPredictor" if call == "__init__" else call
        assert {f"`{called}({name})`" for name in parameters} <= names
    assert {f"`utils.{name}`" for name in facts["utilities"]} <= names


def test_a_row_that_is_refused_says_why(found):
    reasons = {"", "not there"}
    assert not [row.name for row in found if row.status == "refused" and row.note in reasons]


REFUSED = [(call, name, one) for call, names in UNSUPPORTED.items() for name, one in names.items()]


@pytest.mark.parametrize(("call", "name", "one"), REFUSED)
def test_an_argument_is_taken_at_its_default_and_else_refused_with_the_reason(call, name, one):
    facts = msgspec.json.decode(FACTS.read_bytes())["methods"]
    listed = facts["__init__" if call == "MultiModalPredictor" else call]
    if name in listed:  # the others go through AutoGluon's **kwargs
        assert listed[name] == one.default
    refuse_unsupported(call, {name: one.default})
    if one.reason:
        with pytest.raises(ConfigError, match=one.reason):
            refuse_unsupported(call, {name: "something else"})
    else:
        refuse_unsupported(call, {name: "something else"})


def test_an_argument_that_nobody_knows_is_refused_with_the_nearest():
    with pytest.raises(
        ConfigError, match=r"no argument 'use_ensembl', but there is 'use_ensemble'"
    ):
        MultiModalPredictor(label="a", use_ensembl=True)


def test_what_is_the_same_has_the_same_default(found):
    facts = msgspec.json.decode(FACTS.read_bytes())["methods"]
    for row in found:
        if row.group == "Parameters" and row.status == "same":
            call, _, name = row.name.strip("`)").partition("(")
            method = "__init__" if call == "MultiModalPredictor" else call
            own = inspect.signature(getattr(MultiModalPredictor, method)).parameters[name]
            expected = facts[method][name]
            if expected != migrating.REQUIRED:
                assert own.default == expected, row
