import json

import pytest
from click.testing import CliRunner

from automm.cli.main import main


def listed(*args):
    result = CliRunner().invoke(main, ["presets", *args], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_every_preset_is_listed_with_models_sizes_and_needs():
    found = {one["name"]: one for one in json.loads(listed("--json"))}
    assert found["edge"]["default"]
    assert not found["edge"].get("hub")
    assert found["high_quality"]["gpu"]
    electra, caformer = found["high_quality"]["models"]
    assert (electra["parameters"], electra["megabytes"]) == (108_891_648, 435.6)
    assert caformer["encoder"] == "timm_image"
    assert found["high_quality_hpo"]["searches"]["optim.max_epochs"] == "5 to 30"


def test_what_is_missing_has_a_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("automm.report.presets._is_cached", lambda repository: False)
    found = {one["name"]: one for one in json.loads(listed("--json"))}
    assert {one["command"] for one in found["edge"]["models"]} == {"automm weights install edge"}
    commands = [one["command"] for one in found["medium_quality"]["models"]]
    assert commands[1] == "hf download timm/mobilenetv3_large_100.ra_in1k"
    assert found["medium_quality"]["hub"]


def test_a_cached_checkpoint_needs_no_hub(monkeypatch):
    monkeypatch.setattr("automm.report.presets._is_cached", lambda repository: True)
    found = {one["name"]: one for one in json.loads(listed("--json"))}
    assert not found["best_quality"].get("hub")
    assert {one["source"] for one in found["best_quality"]["models"]} == {"hub cache"}


@pytest.mark.parametrize("words", ["edge (default)", "108.9 M, 436 MB", "advised", "loguniform"])
def test_the_list_for_people_names_sizes(words):
    found = listed()
    assert (words in found) is (words != "loguniform")
