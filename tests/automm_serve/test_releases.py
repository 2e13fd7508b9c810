"""What is known of containers and JetPacks, and what follows from it."""

import msgspec
import pytest

from automm_serve.errors import BundleError, ConfigError
from automm_serve.releases import (
    FILE,
    Release,
    check_ir,
    check_tensorrt,
    find_release,
    releases,
)
from automm_serve.triton.preflight import SAFE_RELEASE

FACTS = {  # release -> Python, ONNX Runtime, highest IR, CUDA
    "triton:24.04": ("3.10", "1.17.3", 9, "12.4"),
    "triton:24.10": ("3.10", "1.19.2", 10, "12.6.2"),
    "triton:24.12": ("3.12", "1.20.1", 10, None),
    "triton:25.10": ("3.12", "1.23.1", 11, "13.0.2.006"),
    "triton:26.04": ("3.12", "1.24.4", 13, "13.2.1"),
    "triton:26.07": ("3.12", "1.27.0", 13, "13.3.1"),
    "triton:26.10": ("3.12", None, None, "13.4.3.001"),
}


@pytest.mark.parametrize("name", FACTS)
def test_a_release_says_what_is_in_it(name):
    found = find_release(name)
    assert (found.python, found.onnxruntime, found.highest_ir, found.cuda) == FACTS[name]
    assert found.source


def test_every_release_has_a_source_and_what_is_not_known_is_null_and_not_empty():
    for release in releases().values():
        assert release.source
        values = [release.server, release.python, release.onnxruntime, release.tensorrt]
        assert "" not in values
        assert (release.highest_ir is None) <= (release.onnxruntime is None)


def test_a_newer_release_never_takes_less_than_an_older_one():
    highest = [r.highest_ir for r in releases().values() if r.highest_ir is not None]
    assert highest == sorted(highest)


def test_open_bulletins_are_those_that_are_fixed_later():
    ids = {
        name: [bulletin.id for bulletin in found.open_bulletins or ()]
        for name, found in releases().items()
    }
    assert ids["triton:24.10"] == ["August 2025", "5828", "5865", "5875"]
    assert ids["triton:26.04"] == ["5865", "5875"]
    assert ids["triton:26.07"] == []
    assert find_release("jetpack:6.2").open_bulletins is None  # nobody said


def test_the_launcher_and_the_table_agree_on_the_first_safe_release():
    safe = [release for release in releases().values() if release.open_bulletins == ()]
    assert safe[0].version == SAFE_RELEASE


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("triton:26.12", "triton:26.10"),
        ("triton:24.03", "triton:24.04"),
        ("jetpack:6.3", "jetpack:6.2"),
        ("tritn:25.10", "triton:25.10"),
    ],
)
def test_an_unknown_release_names_the_nearest_and_the_known_ones(name, near):
    with pytest.raises(ConfigError, match=f"{name}.*nearest that is known is '{near}'") as raised:
        find_release(name)
    assert "triton:25.10" in raised.value.mend


@pytest.mark.parametrize("name", ["", "x", "triton:", "triton:25.10.", "25.10"])
def test_what_is_no_release_at_all_names_the_known_ones(name):
    with pytest.raises(ConfigError, match=r"triton:25\.10"):
        find_release(name)


def test_a_graph_that_is_too_new_is_refused_with_file_version_and_highest():
    release = find_release("triton:25.10")
    check_ir(release, 11, "model.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx: the graph has IR version 12.*11 at most"):
        check_ir(release, 12, "model.onnx")
    with pytest.raises(ConfigError, match="highest IR version that it loads is not known"):
        check_ir(find_release("triton:26.10"), 9, "model.onnx")


def test_a_builder_of_another_tensorrt_is_refused_as_far_as_the_version_is_known():
    check_tensorrt(find_release("triton:26.04"), "10.16.1.2")
    check_tensorrt(find_release("jetpack:7.2.2"), "11.4.1.3")
    with pytest.raises(ConfigError, match=r"has TensorRT 10, and the builder here is 11\.4\.1"):
        check_tensorrt(find_release("triton:26.04"), "11.4.1")
    with pytest.raises(ConfigError, match=r"TensorRT 11\.4\.1, and the builder here is 11\.4\.2"):
        check_tensorrt(find_release("jetpack:7.2.2"), "11.4.2")
    with pytest.raises(ConfigError, match="its version of TensorRT is not known"):
        check_tensorrt(find_release("triton:24.04"), "10.1")


def test_the_file_holds_nothing_that_a_release_does_not_say():
    raw = msgspec.json.decode(FILE.read_bytes())
    names = [release["name"] for release in raw["releases"]]
    assert len(names) == len(set(names))
    assert list(releases()) == names  # oldest first
    assert "://" not in FILE.read_text()
    fields = {field.name for field in msgspec.structs.fields(Release)}
    assert all(set(release) <= fields for release in raw["releases"])
