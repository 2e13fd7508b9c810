"""Which builder is taken, what is said of the others, and which release reads what it writes."""

import sys
from types import ModuleType

import pytest

from automm_export.engines import choose
from automm_export.engines.choose import check_release, choose_builder, need_builder
from automm_export.engines.options import EngineOptions
from automm_serve.errors import ConfigError, MissingDependencyError
from automm_serve.gpu import Gpu
from automm_serve.releases import releases

CARD = Gpu("NVIDIA A10", "8.6", 24 << 30)


@pytest.fixture
def machine(monkeypatch):
    """``machine(packages, gpu)``: what is installed, and whether a GPU is there."""

    def make(packages: tuple[str, ...], gpu: Gpu | None = None) -> None:
        monkeypatch.setattr(choose, "find_gpus", lambda: (gpu,) if gpu else ())
        monkeypatch.setattr(choose, "find_spec", lambda name: name if name in packages else None)

    return make


def test_tensorrt_is_taken_where_it_and_a_gpu_are(machine):
    machine(("tensorrt", "tensorrt_rtx"), CARD)
    assert choose_builder(EngineOptions()) == ("tensorrt", CARD, ())


def test_without_a_gpu_rtx_is_taken_and_plans_are_said_to_be_missing_in_one_line(machine):
    machine(("tensorrt", "tensorrt_rtx"))
    found = choose_builder(EngineOptions())
    assert found.builder == "tensorrt_rtx"
    assert len(found.missing) == 1
    assert "gpu_trt" in found.missing[0]
    assert "no GPU is here" in found.missing[0]
    assert found.missing[0].endswith("automm compile BUNDLE")
    assert "\n" not in found.missing[0]


def test_with_neither_both_are_said_to_be_missing(machine):
    machine((), CARD)
    found = choose_builder(EngineOptions())
    assert found.builder is None
    plans, portable = found.missing
    assert "TensorRT is not installed" in plans
    assert "pip install 'automm-edge[tensorrt-rtx]' && automm compile BUNDLE" in portable


def test_a_release_of_triton_wants_plans_and_the_command_keeps_it(machine):
    machine(("tensorrt_rtx",))
    found = choose_builder(EngineOptions(target="triton:26.04"))
    assert found.builder is None
    assert found.missing[0].endswith("automm compile BUNDLE --target triton:26.04")


def test_a_builder_that_is_named_stands_alone(machine):
    machine(("tensorrt", "tensorrt_rtx"), CARD)
    assert choose_builder(EngineOptions(builder="tensorrt_rtx")).builder == "tensorrt_rtx"
    machine(("tensorrt_rtx",), CARD)
    assert choose_builder(EngineOptions(builder="tensorrt")).builder is None
    with pytest.raises(ConfigError, match="tensorrt_rtx"):
        choose_builder(EngineOptions(builder="tensorrt_rx"))  # type: ignore[arg-type]  # a slip


def test_compile_needs_one_and_says_which_package(machine):
    machine(())
    with pytest.raises(MissingDependencyError) as raised:
        need_builder(EngineOptions())
    assert raised.value.command == "pip install 'automm-edge[tensorrt-rtx]'"
    with pytest.raises(MissingDependencyError) as raised:
        need_builder(EngineOptions(builder="tensorrt"))
    assert raised.value.command == "pip install 'automm-edge[tensorrt]'"
    machine(("tensorrt",))
    with pytest.raises(ConfigError, match="this machine has none"):
        need_builder(EngineOptions(builder="tensorrt"))


def test_a_package_that_was_made_absent_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    assert not choose.installed("tensorrt_rtx")
    there = ModuleType("tensorrt_rtx")
    there.__spec__ = sys.__spec__
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", there)
    assert choose.installed("tensorrt_rtx")


def known() -> tuple[str, str]:
    """A release whose TensorRT is known, and its version."""
    return next((name, r.tensorrt) for name, r in releases().items() if r.tensorrt)


def test_a_release_refuses_another_version_and_what_is_no_plan():
    name, version = known()
    check_release("", "tensorrt_rtx", "1.7.1.116")
    check_release(name, "tensorrt", "")
    check_release(name, "tensorrt", version)
    with pytest.raises(ConfigError, match=r"the builder here is 99\.1"):
        check_release(name, "tensorrt", "99.1")
    with pytest.raises(ConfigError, match="none of TensorRT for RTX"):
        check_release(name, "tensorrt_rtx", version)
    with pytest.raises(ConfigError, match="such a release"):
        check_release("triton:1.01", "tensorrt", version)
