"""Where a bundle runs: what is asked for, what is here, and what is said where the two differ."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import onnxruntime as ort

from automm_serve import devices
from automm_serve.bundle import Bundle, load
from automm_serve.cache import VARIABLE
from automm_serve.devices import DeviceWarning, Opened, open_sessions
from automm_serve.engines import SUFFIXES, BuilderName, Engine, Profile, Range
from automm_serve.errors import BundleError, ConfigError, DeviceError, MissingDependencyError
from automm_serve.golden import ROWS, read_rows
from automm_serve.gpu import Gpu
from automm_serve.manifest import MANIFEST, FileFacts, encode_manifest
from automm_serve.sessions.onnxruntime import CPU, CUDA, TENSORRT, OnnxRuntimeSession
from automm_serve.sessions.providers import narrow, tensorrt_options
from automm_serve.tensors import BATCH, Axis, TensorSpec
from automm_serve.verify import file_digest
from tests.automm_serve import frozen
from tests.automm_serve.sessions.fake_gpu import FakeCuda, FakeTrt

GPU = (Gpu("A Test Card", "8.6", 2**33),)
PROFILE = Profile({"batch": Range(1, 8, 16), "text_length": Range(16, 32, 48)})


def add(bundle: Path, *keys: str, default: str = "fp32", engines: tuple[Engine, ...] = ()) -> None:
    """Give the bundle's graph a file under each key, a copy of fp32, and list engines."""
    manifest = Bundle.open(bundle).manifest
    (name, graph), *_ = manifest.graphs.items()
    files, facts = dict(graph.files), dict(manifest.files)
    for key in keys:
        files[key] = files["fp32"].replace("model.onnx", f"model.{key}.onnx")
        shutil.copy(bundle / files["fp32"], bundle / files[key])
        facts[files[key]] = facts[files["fp32"]]
    for engine in engines:
        (bundle / engine.path).write_bytes(b"engine")
        facts[engine.path] = FileFacts(file_digest(bundle / engine.path), 6)
    graph = msgspec.structs.replace(graph, files=files, engines=engines)
    changed = msgspec.structs.replace(
        manifest, graphs={name: graph}, files=facts, default_precision=default
    )
    (bundle / MANIFEST).write_bytes(encode_manifest(changed))


def an_engine(bundle: Path, builder: BuilderName = "tensorrt", **changes: Any) -> Engine:
    manifest = Bundle.open(bundle).manifest
    graph = next(iter(manifest.graphs.values()))
    path = graph.files["fp32"].replace(".onnx", f".fp32{SUFFIXES[builder]}")
    sha = manifest.files[graph.files["fp32"]].sha256
    engine = Engine(path, builder, "10.1", "fp32", ("8.6",), "", (PROFILE,), sha)
    return msgspec.structs.replace(engine, **changes)


def opened(bundle: Path, device: str = "auto", precision: str | None = None,
           gpus: tuple[Gpu, ...] = ()) -> Opened:  # fmt: skip
    found = open_sessions(bundle, Bundle.open(bundle).manifest, device, precision, 1, gpus)
    for session in found.sessions.values():
        session.close()
    return found


def test_without_a_gpu_auto_is_the_cpu_and_nothing_is_said(recwarn):
    found = opened(frozen.V1)
    assert (found.device, found.precision, found.batch_size) == ("cpu", "fp32", 32)
    assert not [one for one in recwarn if issubclass(one.category, DeviceWarning)]


def test_a_gpu_that_is_not_used_is_said_with_the_reasons(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.warns(
        DeviceWarning, match="A Test Card is here, and the bundle runs on 'cpu'"
    ) as w:
        found = opened(frozen.V1, gpus=GPU)
    assert found.device == "cpu"
    text = str(w[0].message)
    assert "tensorrt: ONNX Runtime, TensorrtExecutionProvider" in text
    assert "cuda: ONNX Runtime, CUDAExecutionProvider" in text
    assert "\n" not in text


@pytest.mark.parametrize("device", ["cuda", "tensorrt", "tensorrt_rtx"])
def test_a_device_that_is_asked_for_and_not_here_is_one_clear_error(device):
    with pytest.raises(DeviceError, match=f"device '{device}': no NVIDIA GPU is seen here"):
        load(frozen.V1, device=device)


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_installed_is_an_error_and_never_the_cpu(
    tmp_path, monkeypatch, device
):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(DeviceError, match="as it is installed has it not") as caught:
        opened(frozen.V1, device, gpus=GPU)
    assert caught.value.command == "pip install 'automm-edge[gpu]'"


def test_a_provider_that_gives_way_to_the_cpu_in_silence_is_seen(monkeypatch):
    """As onnxruntime-gpu does without its libraries: it lists the provider, and runs on the CPU."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    real = ort.InferenceSession

    def falls_back(path: str, options: Any, providers: Any, **more: Any) -> Any:
        return real(path, options, providers=[CPU], **more)

    monkeypatch.setattr(ort, "InferenceSession", falls_back)
    graph = next(iter(Bundle.open(frozen.V1).manifest.graphs.values()))
    path = frozen.V1 / graph.files["fp32"]
    with pytest.raises(DeviceError, match="took CPUExecutionProvider instead"):
        OnnxRuntimeSession(path, graph.inputs, graph.outputs, 1, [(CUDA, {}), (CPU, {})])


def test_an_unknown_device_is_refused_with_the_near_one():
    with pytest.raises(ConfigError, match=r"there is 'cuda'.*auto, cpu, cuda, tensorrt, tensor"):
        load(frozen.V1, device="cuds")


def test_the_names_of_the_providers_are_those_of_onnxruntime():
    known = ort.get_all_providers()
    assert {CPU, CUDA, TENSORRT} <= set(known)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_each_precision_opens_its_own_file(tmp_path, precision):
    bundle = frozen.copy(tmp_path)
    add(bundle, "fp16", "int8", "int8_qdq", "bf16")
    manifest = Bundle.open(bundle).manifest
    graph = next(iter(manifest.graphs.values()))
    (bundle / graph.files[precision]).write_bytes(b"no graph")
    assert open_sessions(bundle, manifest, "cpu").precision == "fp32"
    with pytest.raises(BundleError, match=rf"model\.{precision}\.onnx"):
        open_sessions(bundle, manifest, "cpu", precision)


def test_the_default_precision_runs_where_the_device_can(tmp_path):
    bundle = frozen.copy(tmp_path)
    add(bundle, "int8", default="int8")
    assert opened(bundle).precision == "int8"
    assert opened(bundle, precision="fp32").precision == "fp32"
    add(bundle, "bf16", default="bf16")
    assert opened(bundle).precision == "fp32"


def test_a_precision_that_the_bundle_lacks_is_refused_with_those_it_has(tmp_path):
    bundle = frozen.copy(tmp_path)
    add(bundle, "int8")
    with pytest.raises(ConfigError, match="has fp32, int8 alone") as caught:
        load(bundle, precision="fp16")
    assert caught.value.command.startswith("automm export PREDICTOR --out")
    assert caught.value.command.endswith("--precision fp16")
    with pytest.raises(ConfigError, match="no such precision, but there is 'fp16'"):
        load(bundle, precision="f16")


def test_a_precision_that_a_device_cannot_run_is_refused(tmp_path):
    bundle = frozen.copy(tmp_path)
    add(bundle, "bf16", "int8")
    with pytest.raises(ConfigError, match="the device 'cpu' cannot run it, but fp32, int8"):
        load(bundle, precision="bf16")


def test_what_was_opened_is_closed_where_a_later_graph_fails(tmp_path):
    bundle = frozen.copy(tmp_path)
    manifest = Bundle.open(bundle).manifest
    (name, graph), *_ = manifest.graphs.items()
    wanted = devices.Wanted(bundle, manifest, None, 1, ())
    two = msgspec.structs.replace(manifest, graphs={name: graph, "other": graph})
    closed = []

    class One:
        def close(self) -> None:
            closed.append(True)

    def open_one(each: Any) -> Any:
        if closed == [] and not made:
            made.append(each)
            return One()
        raise BundleError(where="a", what="b", mend="c")

    made: list[Any] = []
    with pytest.raises(BundleError):
        devices._open_all(wanted._replace(manifest=two), open_one)
    assert closed == [True]


# -- engines ---------------------------------------------------------------------------------------


@pytest.fixture
def fake(monkeypatch):
    """``(cuda, trt)``, installed as the packages that a session imports."""
    cuda = FakeCuda()
    limits = {name: (1, 8, 16) if name == "batch" else (16, 32, 48) for name in PROFILE.axes}
    trt = FakeTrt(cuda, [tuple(zip(*limits.values(), strict=True))])  # type: ignore[list-item]
    for name, value in (("tensorrt", trt), ("tensorrt_rtx", trt), ("cuda", ModuleType("cuda")),
                        ("cuda.bindings", ModuleType("cuda.bindings")),
                        ("cuda.bindings.runtime", cuda)):  # fmt: skip
        monkeypatch.setitem(sys.modules, name, value)
    return cuda, trt


def refusal(bundle: Path, device: str = "tensorrt", gpus: tuple[Gpu, ...] = GPU) -> BundleError:
    with pytest.raises(BundleError) as caught:
        opened(bundle, device, gpus=gpus)
    return caught.value


def test_an_engine_of_another_gpu_is_refused_before_it_is_loaded(tmp_path, fake):
    bundle = frozen.copy(tmp_path)
    add(bundle, engines=(an_engine(bundle, capabilities=("8.9", "12.0")),))
    error = refusal(bundle)
    assert "are for compute capability 12.0, 8.9, and A Test Card has 8.6" in str(error)
    assert error.command == f"automm compile {bundle}"
    assert fake[0].calls == []


def test_an_engine_of_another_version_is_refused(tmp_path, fake):
    bundle = frozen.copy(tmp_path)
    add(bundle, engines=(an_engine(bundle, version="8.5"),))
    assert "built by tensorrt 8.5, and 10.1 is installed here" in str(refusal(bundle))


def test_an_engine_of_another_graph_is_refused(tmp_path, fake):
    bundle = frozen.copy(tmp_path)
    add(bundle, engines=(an_engine(bundle, graph_sha256="0" * 64),))
    assert "built from another graph" in str(refusal(bundle))


def test_an_engine_of_another_precision_is_not_taken(tmp_path, fake):
    bundle = frozen.copy(tmp_path)
    add(bundle, "fp16", engines=(an_engine(bundle),))
    with pytest.raises(BundleError, match="it has no tensorrt engine of fp16"):
        opened(bundle, "tensorrt", "fp16", GPU)


def test_a_device_of_engines_alone_without_one_says_what_builds_it():
    error = refusal(frozen.V1, "tensorrt_rtx")
    assert "it has no tensorrt_rtx engine of fp32" in str(error)
    assert error.command.startswith("automm compile ")


def test_an_engine_whose_library_is_absent_is_named_with_its_extra(tmp_path, monkeypatch):
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    bundle = frozen.copy(tmp_path)
    for builder, extra in (("tensorrt", "tensorrt"), ("tensorrt_rtx", "tensorrt-rtx")):
        add(bundle, engines=(an_engine(bundle, builder),))  # type: ignore[arg-type]  # they are two
        with pytest.raises(MissingDependencyError, match=rf"automm-edge\[{extra}\]"):
            opened(bundle, builder, gpus=GPU)


@pytest.mark.parametrize(("builder", "extra"), [("tensorrt", "tensorrt"),
                                                ("tensorrt_rtx", "tensorrt-rtx")])  # fmt: skip
def test_bindings_of_cuda_that_are_absent_are_named_with_the_extra_of_the_engine(
    tmp_path, fake, monkeypatch, builder, extra
):
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    bundle = frozen.copy(tmp_path)
    add(bundle, engines=(an_engine(bundle, builder),))
    with pytest.raises(MissingDependencyError, match=rf"'cuda'.*\n.*automm-edge\[{extra}\]"):
        opened(bundle, builder, gpus=GPU)


def test_auto_tells_of_an_engine_that_does_not_fit_and_goes_on(tmp_path, fake, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    bundle = frozen.copy(tmp_path)
    add(bundle, engines=(an_engine(bundle, version="8.5"),))
    with pytest.warns(DeviceWarning, match=r"tensorrt: .*built by tensorrt 8\.5"):
        assert opened(bundle, gpus=GPU).device == "cpu"


def test_a_fitting_engine_runs_and_its_profile_bounds_the_batch(tmp_path, fake, monkeypatch):
    """Up to the library: the stand-in's tensors are not those of the bundle, and it is told so."""
    bundle = frozen.copy(tmp_path)
    add(bundle, engines=(an_engine(bundle, "tensorrt_rtx"),))
    with pytest.raises(BundleError, match="it reads and gives <ids float32, >twice float32, not"):
        opened(bundle, "tensorrt_rtx", gpus=GPU)

    class Fitting:
        max_batch = 16

        def __init__(self, *given: Any, **more: Any) -> None:
            pass

        def close(self) -> None:
            pass

    from automm_serve.sessions import tensorrt

    monkeypatch.setattr(tensorrt, "TensorRTSession", Fitting)
    found = opened(bundle, gpus=GPU)
    assert (found.device, found.batch_size) == ("tensorrt_rtx", 16)


# -- what a session of a GPU is told ---------------------------------------------------------------


def test_the_provider_is_told_every_shape_in_use_and_where_its_cache_is(tmp_path):
    inputs = (
        TensorSpec("ids", "int32", (BATCH, Axis("text_length", (16, 48)))),
        TensorSpec("pixels", "uint8", (BATCH, 2, 8, 8, 3)),
    )
    options = tensorrt_options(inputs, tmp_path)
    assert options["trt_profile_min_shapes"] == "ids:1x16,pixels:1x2x8x8x3"
    assert options["trt_profile_opt_shapes"] == "ids:8x16,pixels:8x2x8x8x3"
    assert options["trt_profile_max_shapes"] == "ids:32x48,pixels:32x2x8x8x3"
    assert options["trt_engine_cache_path"] == str(tmp_path)


def test_a_cache_lies_under_the_hash_of_the_bundle_and_never_in_it(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    bundle = frozen.copy(tmp_path)
    before = sorted(bundle.rglob("*"))
    with pytest.raises(DeviceError):
        opened(bundle, "tensorrt", gpus=GPU)
    content = Bundle.open(bundle).manifest.content_sha256
    assert (tmp_path / "cache" / content / "tensorrt").is_dir()
    assert sorted(bundle.rglob("*")) == before


def test_fewer_lengths_of_a_session_are_what_rows_are_padded_to():
    bundle = Bundle.open(frozen.V1)
    predictor = bundle.predictor("cpu", 1)
    rows = read_rows(frozen.V1 / ROWS, bundle.pipeline.schema)
    expected = predictor.run(rows).columns["probabilities"]
    session = predictor.sessions["predict"]
    shapes: list[tuple[int, ...]] = []

    class Watched:
        inputs = narrow(session.inputs, {"text_length": (48,)})
        outputs = session.outputs

        def run(self, feed: dict[str, Any]) -> dict[str, Any]:
            shapes.append(feed["text_ids"].shape)
            return session.run(feed)

    predictor.sessions["predict"] = Watched()  # type: ignore[assignment]  # close is not called
    found = predictor.run(rows).columns["probabilities"]
    assert {shape[1] for shape in shapes} == {48}
    np.testing.assert_allclose(np.stack(found), np.stack(expected), atol=1e-5)  # type: ignore[arg-type]  # vectors
