"""An engine's session, on stand-ins of TensorRT and CUDA: what they are asked, in what order."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from automm_serve.engines import Engine, Profile, Range
from automm_serve.errors import BundleError, DataError, DeviceError
from automm_serve.sessions import open_session
from automm_serve.sessions.tensorrt import MOST_GRAPHS, TensorRTSession
from automm_serve.tensors import BATCH, Axis, TensorSpec
from tests.automm_serve.sessions.fake_gpu import FakeCuda, FakeTrt

LENGTH = Axis("text_length", (16, 32))
IDS = TensorSpec("ids", "float32", (BATCH, LENGTH))
TWICE = TensorSpec("twice", "float32", (BATCH, LENGTH))
SHORT = Profile({"batch": Range(1, 8, 32), "text_length": Range(1, 16, 16)})
LONG = Profile({"batch": Range(1, 4, 8), "text_length": Range(1, 16, 64)})


def ranges(*profiles: Profile) -> list[tuple[Any, Any, Any]]:
    def shape(profile: Profile, limit: str) -> tuple[int, ...]:
        return tuple(getattr(profile.axes[name], limit) for name in ("batch", "text_length"))

    return [(shape(p, "min"), shape(p, "opt"), shape(p, "max")) for p in profiles]


def record(*profiles: Profile, version: str = "10.1") -> Engine:
    return Engine("model.sm86.plan", "tensorrt", version, "fp32", ("8.6",), "", profiles, "")


def open_fake(
    tmp_path: Path, *profiles: Profile, cuda: FakeCuda | None = None, content: bytes = b"engine"
) -> tuple[TensorRTSession, FakeCuda, FakeTrt]:
    profiles = profiles or (SHORT, LONG)
    cuda = cuda or FakeCuda()
    trt = FakeTrt(cuda, ranges(*profiles))
    path = tmp_path / "model.sm86.plan"
    path.write_bytes(content)
    session = TensorRTSession(path, record(*profiles), (IDS,), (TWICE,), trt, runtime=cuda)
    return session, cuda, trt


def ids(rows: int, length: int, start: float = 0.0) -> dict[str, Any]:
    return {"ids": np.arange(rows * length, dtype=np.float32).reshape(rows, length) + start}


def test_a_run_gives_what_the_engine_computes_and_the_tightest_profile_runs_it(tmp_path):
    session, _, trt = open_fake(tmp_path)
    for rows, length in ((1, 3), (32, 16), (8, 64), (2, 17)):
        feed = ids(rows, length)
        np.testing.assert_array_equal(session.run(feed)["twice"], feed["ids"] * 2)
    assert trt.engine is not None
    assert [profile for profile, _ in trt.engine.runs] == [0, 0, 1, 1]
    assert session.max_batch == 8  # what every profile takes


def test_an_answer_is_the_callers_own(tmp_path):
    session, _, _ = open_fake(tmp_path)
    first = session.run(ids(2, 3))["twice"]
    before = first.copy()
    session.run(ids(2, 3, start=50))
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize(
    ("rows", "length", "command"),
    [(33, 4, "--max-batch 33"), (2, 65, "--max-length 65"), (9, 17, "automm compile BUNDLE$")],
)
def test_a_shape_outside_every_profile_is_refused_with_the_ranges(tmp_path, rows, length, command):
    session, _, trt = open_fake(tmp_path)
    said = rf"not built for batch {rows}, text_length {length}; it takes batch 1 to 32, text_length"
    with pytest.raises(DataError, match=said) as caught:
        session.run(ids(rows, length))
    assert "; or batch 1 to 8, text_length 1 to 64" in str(caught.value)
    assert re.search(command, caught.value.command)
    assert trt.engine is not None
    assert trt.engine.runs == []


def test_a_shape_that_occurs_again_is_recorded_and_replayed(tmp_path):
    session, cuda, trt = open_fake(tmp_path)
    for start in range(5):
        feed = ids(2, 3, start)
        np.testing.assert_array_equal(session.run(feed)["twice"], feed["ids"] * 2)
    assert trt.engine is not None
    assert len(trt.engine.runs) == 2  # once by itself, once into the recording
    assert cuda.calls.count("cudaGraphLaunch") == 4
    # A run that is replayed asks CUDA for three things alone.
    cuda.calls.clear()
    session.run(ids(2, 3))
    assert cuda.calls == ["cudaSetDevice", "cudaGraphLaunch", "cudaStreamSynchronize"]


def test_the_copies_are_in_the_order_of_the_stream_around_the_run(tmp_path):
    session, cuda, _ = open_fake(tmp_path)
    session.run(ids(2, 3))
    copies = [name for name in cuda.calls if "Memcpy" in name or "Synchronize" in name]
    assert copies == ["cudaStreamSynchronize", "cudaMemcpyAsync", "cudaMemcpyAsync",
                      "cudaStreamSynchronize"]  # fmt: skip


def test_larger_rows_get_other_memory_and_what_was_recorded_goes(tmp_path):
    session, cuda, _ = open_fake(tmp_path)
    for _ in range(3):
        session.run(ids(2, 3))
    assert len(cuda.graphs) == 1
    blocks = set(cuda.live)
    feed = ids(30, 16)
    np.testing.assert_array_equal(session.run(feed)["twice"], feed["ids"] * 2)
    assert cuda.graphs == {}
    assert not blocks & set(cuda.live) or len(cuda.live) == 4
    small = ids(2, 3, 7)
    np.testing.assert_array_equal(session.run(small)["twice"], small["ids"] * 2)


def test_the_recordings_are_bounded_and_the_oldest_goes(tmp_path):
    session, cuda, _ = open_fake(tmp_path)
    session.run(ids(32, 16))  # the largest first, so that memory stays
    for rows in range(1, 32):
        session.run(ids(rows, 16))
        session.run(ids(rows, 16))
    assert len(cuda.graphs) == MOST_GRAPHS
    feed = ids(1, 16, 3)
    np.testing.assert_array_equal(session.run(feed)["twice"], feed["ids"] * 2)


def test_where_nothing_can_be_recorded_it_runs_all_the_same(tmp_path):
    session, cuda, _ = open_fake(tmp_path, cuda=FakeCuda(records=False))
    for start in range(4):
        feed = ids(2, 3, start)
        np.testing.assert_array_equal(session.run(feed)["twice"], feed["ids"] * 2)
    assert cuda.calls.count("cudaStreamBeginCapture") == 1
    assert "cudaGraphLaunch" not in cuda.calls


def test_close_gives_everything_back_and_says_so_afterwards(tmp_path):
    session, cuda, _ = open_fake(tmp_path)
    for _ in range(3):
        session.run(ids(2, 3))
    assert cuda.live
    assert cuda.graphs
    session.close()
    session.close()
    assert (cuda.live, cuda.graphs, cuda.streams) == ({}, {}, set())
    with pytest.raises(RuntimeError, match="closed"):
        session.run(ids(1, 1))


def test_a_run_that_fails_says_the_reason_of_the_library_and_the_next_one_works(tmp_path):
    session, _, trt = open_fake(tmp_path)
    session.run(ids(1, 2))
    assert trt.engine is not None
    trt.engine.fails = True
    with pytest.raises(DeviceError, match="the run fails: a kernel fails"):
        session.run(ids(2, 2))
    with pytest.raises(DeviceError):
        session.run(ids(1, 2))  # into a recording, which ends
    trt.engine.fails = False
    feed = ids(1, 2, 4)
    np.testing.assert_array_equal(session.run(feed)["twice"], feed["ids"] * 2)


def test_a_gpu_without_memory_enough_is_an_error_and_keeps_nothing(tmp_path):
    session, cuda, _ = open_fake(tmp_path, cuda=FakeCuda(memory_bytes=600))
    with pytest.raises(DeviceError, match=r"cudaMalloc.*: error 2"):
        session.run(ids(32, 16))
    # A run that fits works afterwards, whatever was moved meanwhile.
    for start in range(3):
        feed = ids(2, 3, start)
        np.testing.assert_array_equal(session.run(feed)["twice"], feed["ids"] * 2)
    session.close()
    assert cuda.live == {}


def test_a_machine_without_gpu_is_told(tmp_path):
    with pytest.raises(DeviceError, match="CUDA, GPU 0: cudaSetDevice: error 35"):
        open_fake(tmp_path, cuda=FakeCuda(devices=0))


def test_a_file_that_is_no_engine_is_named_and_nothing_stays(tmp_path):
    cuda = FakeCuda()
    with pytest.raises(
        BundleError, match=r"model\.sm86\.plan: .*magic tag does not match"
    ) as found:
        open_fake(tmp_path, cuda=cuda, content=b"other")
    assert found.value.command == "automm compile BUNDLE"
    assert cuda.streams == set()


def test_an_engine_of_another_version_is_refused_before_it_is_loaded(tmp_path):
    cuda = FakeCuda()
    trt = FakeTrt(cuda, ranges(SHORT))
    path = tmp_path / "absent.plan"  # not even read
    with pytest.raises(BundleError, match=r"by tensorrt 9\.3, and 10\.1 is installed") as caught:
        TensorRTSession(path, record(SHORT, version="9.3"), (IDS,), (TWICE,), trt, runtime=cuda)
    assert caught.value.command == "automm compile BUNDLE"
    assert cuda.calls == []


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ((TensorSpec("mask", "float32", IDS.shape),), (TWICE,), "reads and gives <ids"),
        ((IDS,), (TensorSpec("half", "float32", TWICE.shape),), "not .*half"),
        ((TensorSpec("ids", "int32", IDS.shape),), (TWICE,), "ids float32"),
    ],
)
def test_an_engine_with_other_tensors_than_the_bundle_says_is_refused(
    tmp_path, inputs, outputs, said
):
    cuda = FakeCuda()
    path = tmp_path / "model.plan"
    path.write_bytes(b"engine")
    with pytest.raises(BundleError, match=said):
        TensorRTSession(
            path, record(SHORT), inputs, outputs, FakeTrt(cuda, ranges(SHORT)), runtime=cuda
        )


def test_an_engine_whose_shapes_are_not_those_of_its_record_is_refused(tmp_path):
    cuda = FakeCuda()
    path = tmp_path / "model.plan"
    path.write_bytes(b"engine")
    for built, said in (((LONG,), "other shapes"), ((SHORT, SHORT), "2 profiles, not 1")):
        trt = FakeTrt(cuda, ranges(*built))
        with pytest.raises(BundleError, match=said):
            TensorRTSession(path, record(SHORT), (IDS,), (TWICE,), trt, runtime=cuda)
    assert cuda.streams == set()


def test_threads_share_a_session_and_each_gets_its_own_answer(tmp_path):
    session, _, _ = open_fake(tmp_path)
    wrong = []

    def ask(number: int) -> None:
        for step in range(20):
            feed = ids(1 + (number + step) % 4, 5, 100 * number)
            if not np.array_equal(session.run(feed)["twice"], feed["ids"] * 2):
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_axes_of_one_name_must_have_one_size(tmp_path):
    cuda = FakeCuda()
    path = tmp_path / "model.plan"
    path.write_bytes(b"engine")
    session, _, _ = open_fake(tmp_path, cuda=cuda)
    session.inputs = (IDS, TensorSpec("twice", "float32", IDS.shape))
    with pytest.raises(DataError, match="where 3 was expected"):
        session.run(ids(2, 3) | {"twice": np.zeros((2, 4), np.float32)})


def test_an_ending_decides_what_runs_a_file(tmp_path):
    path = tmp_path / "model.fp16.rtx"
    path.write_bytes(b"engine")
    with pytest.raises(BundleError, match="nothing is said of this engine"):
        open_session(path, (IDS,), (TWICE,))
    pytest.importorskip("onnxruntime")
    with pytest.raises(BundleError, match="ONNX Runtime"):
        open_session(tmp_path / "model.onnx", (IDS,), (TWICE,))


def test_the_names_that_are_called_are_those_of_the_library():
    """The installed TensorRT for RTX, whose Python interface is that of TensorRT."""
    trt = pytest.importorskip("tensorrt_rtx")
    engine = ("num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype",
              "num_optimization_profiles", "get_tensor_profile_shape",
              "create_execution_context")  # fmt: skip
    context = ("set_optimization_profile_async", "set_input_shape", "set_tensor_address",
               "execute_async_v3", "is_stream_capturable")  # fmt: skip
    assert [name for name in engine if not hasattr(trt.ICudaEngine, name)] == []
    assert [name for name in context if not hasattr(trt.IExecutionContext, name)] == []
    assert hasattr(trt.Runtime, "deserialize_cuda_engine")
    assert trt.nptype(trt.float32) is np.float32
    assert {trt.TensorIOMode.INPUT, trt.TensorIOMode.OUTPUT}
    assert trt.ILogger.ERROR != trt.ILogger.INTERNAL_ERROR


def test_the_functions_of_cuda_that_are_called_are_in_its_bindings():
    cuda = pytest.importorskip("cuda.bindings.runtime")
    for name in dir(FakeCuda):
        if name.startswith("cuda"):
            assert hasattr(cuda, name), name
