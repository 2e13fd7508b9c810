"""Which calls the one builder makes of each library, on a stand-in; see ``fake_trt``."""

import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from automm_export.engines.builder import BuildError, build_engine
from automm_export.engines.job import Event, Job, Step
from automm_serve.engines import Profile, Range
from automm_serve.tensors import BATCH, TensorSpec
from tests.automm_export.engines.fake_trt import FakeTrt, Layer, LayerType

INPUTS = (TensorSpec("x", "float32", (BATCH, 4)), TensorSpec("fixed", "int32", (2,)))
PROFILE = Profile({"batch": Range(1, 8, 32)})


def ask(trt: FakeTrt, folder: Path, *args: Any, **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "builder": "tensorrt",
        "graph": str(folder / "model.fp16.onnx"),
        "engine": str(folder / "model.fp16.sm86.plan"),
        "inputs": INPUTS,
        "profiles": (PROFILE,),
        "precision": "fp16",
    }
    return build_engine(trt, Job(**{**fields, **changes}), *args)  # type: ignore[arg-type]


def test_tensorrt_is_asked_for_a_strongly_typed_network_and_no_capability(tmp_path):
    trt = FakeTrt()
    done = ask(trt, tmp_path, timing_cache=str(tmp_path / "cache" / "t"), workspace_mb=2)
    assert (done.version, done.size_bytes) == ("10.13.3.9", 4)
    assert (tmp_path / "model.fp16.sm86.plan").read_bytes() == b"plan"
    assert trt.calls[0] == ("network", 1 << 1)
    assert "cc" not in trt.names()
    assert "set_flag" not in trt.names()
    assert ("memory", "WORKSPACE", 2 << 20) in trt.calls
    assert ("profile", {"x": ((1, 4), (8, 4), (32, 4))}) in trt.calls  # nothing for what is fixed


def test_the_timing_cache_is_kept_and_given_to_the_next_build(tmp_path):
    cache = tmp_path / "cache" / "t"
    first, second = FakeTrt(), FakeTrt()
    ask(first, tmp_path, timing_cache=str(cache))
    assert ("timings", b"") in first.calls
    assert cache.read_bytes() == b"timings"
    ask(second, tmp_path, timing_cache=str(cache))
    assert ("timings", b"timings") in second.calls
    assert [path.name for path in cache.parent.iterdir()] == ["t"]


def test_a_timing_cache_of_another_gpu_gives_way(tmp_path):
    cache = tmp_path / "t"
    cache.write_bytes(b"of another GPU")
    trt = FakeTrt()
    ask(trt, tmp_path, timing_cache=str(cache))
    assert [call for call in trt.calls if call[0] == "timings"][-1] == ("timings", b"")
    assert cache.read_bytes() == b"timings"


def test_tensorrt_for_rtx_is_told_the_capabilities_and_never_times(tmp_path):
    trt = FakeTrt(rtx=True)
    ask(trt, tmp_path, builder="tensorrt_rtx", capabilities=("8.6", "12.0"))
    assert trt.config.num_compute_capabilities == 2
    assert [call for call in trt.calls if call[0] == "cc"] == [
        ("cc", "SM86", 0),
        ("cc", "SM120", 1),
    ]
    assert "timings" not in trt.names()


def test_a_capability_that_the_installed_version_lacks_is_named_with_those_it_has(tmp_path):
    with pytest.raises(
        BuildError, match=r"does not know compute capability 8\.9, only SM86, SM120"
    ):
        ask(FakeTrt(rtx=True), tmp_path, capabilities=("8.9",))


def test_fp32_keeps_all_bits_and_other_precisions_leave_that_alone(tmp_path):
    full, half = FakeTrt(), FakeTrt()
    ask(full, tmp_path, precision="fp32")
    ask(half, tmp_path, precision="fp16")
    assert ("clear_flag", "TF32") in full.calls
    assert "clear_flag" not in half.names()


def test_an_old_builder_is_told_of_fp16_for_fp16_graphs_alone(tmp_path):
    old, other = FakeTrt(old=True), FakeTrt(old=True)
    ask(old, tmp_path)
    ask(other, tmp_path, precision="fp32")
    assert ("set_flag", "FP16") in old.calls
    assert "set_flag" not in other.names()


def test_attention_may_be_taken_apart(tmp_path):
    layers = (Layer("a/MatMul", LayerType.MATRIX_MULTIPLY), Layer("b/A", LayerType.ATTENTION_INPUT))
    ask(FakeTrt(layers=layers), tmp_path)
    assert [layer.attention.decomposable for layer in layers] == [False, True]


def test_a_failure_names_the_layer_and_leaves_no_file(tmp_path):
    layers = (Layer("model.head/MatMul_7", LayerType.MATRIX_MULTIPLY),)
    trt = FakeTrt(plan=None, error="cannot do 'model.head/MatMul_7'", layers=layers)
    with pytest.raises(BuildError) as raised:
        ask(trt, tmp_path)
    assert raised.value.failed.nodes[0].module == "model.head"
    assert list(tmp_path.iterdir()) == []


def test_progress_is_told_and_a_stop_ends_the_build(tmp_path):
    told: list[Event] = []
    ask(FakeTrt(), tmp_path, told.append)
    assert [event.share for event in told if isinstance(event, Step)] == [0.0, 0.5, 1.0]
    stop = threading.Event()
    stop.set()
    with pytest.raises(BuildError) as raised:
        ask(FakeTrt(), tmp_path, told.append, stop)
    assert raised.value.failed.cause == "cancelled"


def test_a_full_disk_is_a_failure_and_no_half_file(tmp_path, monkeypatch):
    def full(self: Path, content: object) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BuildError, match="No space left") as raised:
        ask(FakeTrt(), tmp_path)
    assert raised.value.failed.cause == "disk"
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_another_bundle_behind_a_link_is_not_written_into(tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"of the bundle that is compiled")
    (tmp_path / "model.fp16.sm86.plan").hardlink_to(other)
    ask(FakeTrt(), tmp_path)
    assert other.read_bytes() == b"of the bundle that is compiled"
