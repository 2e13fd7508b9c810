import subprocess
import sys

import msgspec
import pytest

pytest.importorskip("torch")

from automm.config.overrides import override
from automm.config.schema import Config
from automm.models.encoders import ENCODERS, find_encoder, ft_transformer, options_of
from automm_serve.errors import ConfigError


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_s_settings_are_a_section_of_the_configuration(name):
    assert isinstance(options_of(Config(), name), find_encoder(name).OPTIONS)


def test_a_misspelt_encoder_is_named():
    with pytest.raises(ConfigError, match="'hf_text'"):
        find_encoder("hf_txt")


def test_a_stranger_s_encoder_is_found_by_its_entry_point(monkeypatch):
    class Point:
        name = "siglip"
        value = "automm.models.encoders.ft_transformer"

    monkeypatch.setattr("automm.models.encoders.entry_points", lambda group: [Point])
    assert find_encoder("siglip").build is ft_transformer.build
    config = override(Config(), "model.other.siglip.token_dim=24")
    assert msgspec.to_builtins(options_of(config, "siglip"))["token_dim"] == 24


def test_the_registry_imports_no_heavy_package():
    code = "import sys, automm.models.encoders; print({'torch', 'timm'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
