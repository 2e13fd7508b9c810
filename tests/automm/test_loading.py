"""``automm.load`` finds out what it was given."""

import pytest

import automm
from automm.loading import holds, is_url
from automm_serve.errors import BundleError, ConfigError
from automm_serve.predictor import LocalPredictor
from tests.automm.cli.answering import BUNDLE


def test_a_bundle_is_opened():
    pytest.importorskip("onnxruntime")
    assert isinstance(automm.load(BUNDLE), LocalPredictor)
    assert isinstance(automm.load(str(BUNDLE)), LocalPredictor)


def test_a_folder_is_told_by_its_file(tmp_path):
    with pytest.raises(BundleError, match="neither a predictor nor a bundle"):
        holds(tmp_path)
    (tmp_path / "predictor.json").touch()
    assert holds(tmp_path) == "predictor"
    (tmp_path / "bundle.json").touch()
    assert holds(tmp_path) == "bundle"


@pytest.mark.parametrize(("name", "what"), [("nowhere", "no such folder"), ("a.csv", "a file")])
def test_what_is_no_folder_is_refused(tmp_path, name, what):
    (tmp_path / "a.csv").touch()
    with pytest.raises(BundleError, match=what):
        automm.load(tmp_path / name)


@pytest.mark.parametrize(
    "url", ["grpc://127.0.0.1:8001/m", "http://h/m", "https://h/m", "grpc://[::1/m"]
)
def test_a_url_is_told_from_a_folder(url):
    assert is_url(url)
    for path in ("bundle", "/a/b", "c:\\bundle", "s3://bucket/x", BUNDLE):
        assert not is_url(path)


def test_a_bundle_takes_a_device_and_a_precision():
    pytest.importorskip("onnxruntime")
    assert isinstance(automm.load(BUNDLE, device="cpu", precision="fp32"), LocalPredictor)
    with pytest.raises(ConfigError, match="has fp32 alone"):
        automm.load(BUNDLE, precision="int8")


@pytest.mark.parametrize("choice", [{"device": "cpu"}, {"precision": "fp32"}])
def test_what_chooses_these_itself_refuses_them(tmp_path, choice):
    (tmp_path / "predictor.json").touch()
    for source in (tmp_path, "grpc://127.0.0.1:1/m"):
        with pytest.raises(ConfigError, match="takes neither a device nor a precision"):
            automm.load(source, **choice)
