"""Compute capabilities by the names of cards; what TensorRT for RTX does not build for."""

import pytest

from automm_export.engines.capabilities import (
    CARDS,
    check_capabilities,
    describe_cards,
    split_turing,
)
from automm_serve.errors import ConfigError


def test_known_ones_come_back_ascending_and_once():
    assert check_capabilities(["12.0", "8.6", "8.6", "7.5"]) == ("7.5", "8.6", "12.0")


@pytest.mark.parametrize(
    ("name", "card"), [("9.0", "H100 and H200"), ("8.7", "Jetson Orin"), ("10.0", "B200")]
)
def test_cards_that_are_none_of_rtx_are_refused_by_name_with_the_way(name, card):
    with pytest.raises(ConfigError, match=card) as raised:
        check_capabilities(["8.6", name])
    assert raised.value.command == "automm compile BUNDLE --builder tensorrt"


@pytest.mark.parametrize("name", ["8.8", "sm86", "86", "", "8.6.1", "99.9"])
def test_an_unknown_one_is_refused_and_the_known_ones_are_named(name):
    with pytest.raises(ConfigError, match="does not know it") as raised:
        check_capabilities([name])
    assert all(f"{known} ({card})" in str(raised.value) for known, card in CARDS.items())


def test_none_at_all_is_refused():
    with pytest.raises(ConfigError, match="none is named"):
        check_capabilities([])


def test_fp32_on_turing_is_refused_before_the_build_with_the_way():
    for precisions, asked in ((["fp32"], False), (["fp32", "fp16"], True)):
        with pytest.raises(ConfigError, match="RTX 20 cards") as raised:
            split_turing(["7.5", "8.6"], precisions, asked)
        assert "--precision fp16 --capability 7.5 --capability 8.6" in raised.value.command


def test_beside_fp16_turing_is_left_to_fp16():
    assert split_turing(["7.5", "8.6"], ["fp32", "fp16"], False) == {
        "fp32": ("8.6",),
        "fp16": ("7.5", "8.6"),
    }
    assert split_turing(["7.5"], ["fp32", "fp16"], False) == {"fp16": ("7.5",)}
    assert split_turing(["7.5"], ["fp16"], True) == {"fp16": ("7.5",)}


def test_cards_are_named_as_people_know_them():
    assert describe_cards(["8.6", "8.9", "12.0"]) == "RTX 30, 40 and 50 cards"
    assert describe_cards(["8.0", "8.6"]) == "RTX 30 cards and A100"
    assert describe_cards(["8.7"]) == "Jetson Orin"
