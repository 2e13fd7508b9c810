"""The public names: lazy, and all of them there."""

import sys

import pytest

import automm
from automm_serve.errors import MissingDependencyError


def test_the_public_names_are_listed_and_each_has_a_home():
    assert set(automm.__all__) == set(automm._HOMES)
    assert set(automm.__all__) <= set(dir(automm))
    assert automm.__version__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'MultiModalPredicter'"):
        automm.MultiModalPredicter  # noqa: B018  # the attribute is the test


def test_without_torch_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith(("automm.", "automm_export"))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingDependencyError, match=r"automm-edge\[train\]"):
        automm.MultiModalPredictor  # noqa: B018
