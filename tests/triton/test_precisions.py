"""One bundle in each of its precisions on the real server, and the targets that need a GPU.

The bundle's int8 is the graph of another bundle, so that it surely answers otherwise than fp32:
an answer tells which file gave it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from automm_export.export import ExportOptions, export
from automm_export.writer import list_files, write_manifest
from automm_serve.bundle import Bundle, load
from automm_serve.errors import BundleError, ConfigError, ServerError
from automm_serve.golden import ROWS, read_rows
from automm_serve.manifest import REPOSITORY, read_manifest
from automm_serve.triton import launch
from automm_serve.triton.client import Client
from automm_serve.triton.launch import TritonServer
from automm_serve.triton.repository import open_served
from tests.automm_export.precision import small
from tests.automm_export.prepared import add_engine, add_files
from tests.triton.conftest import OPTIONS, accept

pytestmark = pytest.mark.triton
PRECISIONS = ("fp32", "fp16", "int8")


def prepare(bundle: Path, other: Path, default: str) -> Path:
    """Give a copy of a bundle precisions, of which int8 is the graph of another bundle."""
    graph = next(iter(Bundle.open(other).manifest.graphs.values()))
    manifest = add_files(bundle, default=default)
    mine = manifest.graphs["predict"]
    shutil.copy(other / graph.files["fp32"], bundle / mine.files["int8"])
    figures = manifest.precisions["int8"]
    wide = {**manifest.precisions, "int8": msgspec.structs.replace(figures, difference=5.0)}
    files = list_files(bundle)
    write_manifest(bundle, msgspec.structs.replace(manifest, precisions=wide, files=files))
    return bundle


@pytest.fixture(scope="module")
def mixed(bundles, tmp_path_factory):
    """A bundle whose default is fp32."""
    folder = tmp_path_factory.mktemp("mixed")
    return prepare(Path(shutil.copytree(bundles[0], folder / "bundle")), bundles[1], "fp32")


@pytest.fixture(scope="module")
def mixed_int8(bundles, tmp_path_factory):
    """The same, whose default is int8."""
    folder = tmp_path_factory.mktemp("mixed_int8")
    return prepare(Path(shutil.copytree(bundles[0], folder / "bundle")), bundles[1], "int8")


def golden(bundle: Path):
    return read_rows(bundle / ROWS, Bundle.open(bundle).pipeline.schema)


def in_process(bundle: Path, precision: str):
    return load(bundle, device="cpu", threads=1, precision=precision).predict_proba(golden(bundle))


def test_int8_and_fp32_of_this_bundle_cannot_be_taken_for_each_other(mixed):
    difference = np.abs(in_process(mixed, "fp32") - in_process(mixed, "int8"))
    assert difference.max(axis=1).min() > 1e-3


@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_precision_answers_on_the_server_as_in_process(parts, mixed, precision):
    options = msgspec.structs.replace(OPTIONS, precision=precision)
    with TritonServer(mixed, options) as server, Client(server.url()) as client:
        assert server.control.target_of("tiny") == ("cpu", precision)
        assert server.bundle.config == ("cpu" if precision == "fp32" else f"cpu.{precision}")
        found = client.predict_proba(golden(mixed))
    np.testing.assert_allclose(found, in_process(mixed, precision), atol=1e-6)


@pytest.mark.parametrize("asked", ["", "int8", "fp32"])
def test_the_default_precision_is_served_where_none_is_asked_for(parts, mixed_int8, asked):
    options = msgspec.structs.replace(OPTIONS, precision=asked)
    with TritonServer(mixed_int8, options) as server, Client(server.url()) as client:
        assert server.bundle.config == ("cpu.fp32" if asked == "fp32" else "cpu")
        found = client.predict_proba(golden(mixed_int8))
    expected = in_process(mixed_int8, asked or "int8")
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_graphs_that_are_models_of_their_own_run_in_the_precision_asked_for(full_server, mixed):
    options = msgspec.structs.replace(
        OPTIONS, target="cpu_ort", server=full_server, precision="int8"
    )
    with TritonServer(mixed, options) as server, Client(server.url()) as client:
        assert server.control.target_of("tiny") == ("cpu_ort", "int8")
        found = client.predict_proba(golden(mixed))
    np.testing.assert_allclose(found, in_process(mixed, "int8"), atol=1e-6)


def test_a_bundle_with_another_default_takes_over_in_the_precision_asked_for(
    parts, mixed, mixed_int8
):
    """The server was told the configuration `cpu.int8`; in the other bundle it is `cpu`."""
    options = msgspec.structs.replace(OPTIONS, precision="int8")
    with TritonServer(mixed, options) as server, Client(server.url()) as client:
        server.swap(mixed_int8)
        assert server.control.target_of("tiny") == ("cpu", "int8")
        found = client.predict_proba(golden(mixed))
        server.swap(mixed)
        assert server.control.target_of("tiny") == ("cpu", "int8")
    np.testing.assert_allclose(found, in_process(mixed, "int8"), atol=1e-6)


@pytest.mark.parametrize(
    ("target", "precision", "said"),
    [
        ("cpu", "bf16", "the target 'cpu' does not run it. Choose one of fp32, fp16, int8"),
        ("cpu", "fp8", "there is no such precision"),
    ],
)
def test_a_precision_that_cannot_be_served_is_refused_before_the_start(
    mixed, target, precision, said
):
    options = msgspec.structs.replace(OPTIONS, target=target, precision=precision)
    with pytest.raises(ConfigError, match=said):
        TritonServer(mixed, options)


def test_a_precision_that_the_bundle_has_not_is_refused_with_the_export(bundles):
    with pytest.raises(ConfigError, match="has fp32 alone") as caught:
        open_served(bundles[0], "cpu", precision="int8")
    assert "--precision int8" in caught.value.command


def test_a_configuration_of_another_precision_is_seen(parts, mixed, tmp_path):
    copied = Path(shutil.copytree(mixed, tmp_path / "copied"))
    configs = copied / REPOSITORY / "tiny" / "configs"
    # What a server does with a name that is not there: it starts on another configuration.
    shutil.copy(configs / "cpu.pbtxt", configs / "cpu.int8.pbtxt")
    accept(copied)
    options = msgspec.structs.replace(OPTIONS, precision="int8")
    with pytest.raises(ServerError, match="loaded the precision 'fp32' where 'int8' was asked"):
        TritonServer(copied, options)


def test_answers_outside_of_the_tolerance_of_a_precision_stop_the_start(parts, mixed, tmp_path):
    copied = Path(shutil.copytree(mixed, tmp_path / "copied"))
    _, manifest = read_manifest(copied)
    figures = msgspec.structs.replace(manifest.precisions["int8"], difference=1e-4)
    precisions = {**manifest.precisions, "int8": figures}
    write_manifest(copied, msgspec.structs.replace(manifest, precisions=precisions))
    options = msgspec.structs.replace(OPTIONS, precision="int8")
    with pytest.raises(ServerError, match="the golden answers differ"):
        TritonServer(copied, options)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Files that the exporter made in each precision, the default int8."""
    path = tmp_path_factory.mktemp("real") / "bundle"
    options = ExportOptions(precisions=("fp16", "int8"), default_precision="int8")
    export(small.model(), path, options)
    return path


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_the_exporter_made_answers_alike_in_process_and_on_the_server(parts, real, precision):
    options = msgspec.structs.replace(OPTIONS, precision=precision)
    rows = golden(real)
    expected = in_process(real, precision)
    with TritonServer(real, options) as server, Client(server.url()) as client:
        assert server.bundle.config == ("cpu" if precision == "int8" else f"cpu.{precision}")
        found = client.predict_proba(rows)
    # One request, so one batch: dynamic int8 takes its scales from the rows of a run together.
    np.testing.assert_allclose(found, expected, atol=1e-6)
    others = [in_process(real, name) for name in PRECISIONS if name != precision]
    assert min(np.abs(found - other).max() for other in others) > 1e-5


# -- targets of a GPU, as far as a machine without one can go --------------------------------------


@pytest.fixture
def engines(bundles, tmp_path):
    """A bundle with engines of both builders."""
    bundle = Path(shutil.copytree(bundles[0], tmp_path / "engines"))
    add_files(bundle, ["fp16"])
    add_engine(bundle, "tensorrt")
    add_engine(bundle, "tensorrt_rtx")
    return bundle


@pytest.mark.parametrize("target", ["gpu_trt", "gpu_rtx"])
def test_a_target_without_its_engine_is_refused_with_the_command(mixed, target):
    options = msgspec.structs.replace(OPTIONS, target=target)
    with pytest.raises(BundleError, match=r"has no engine of tensorrt(_rtx)? in fp32") as caught:
        TritonServer(mixed, options)
    assert caught.value.command == f"automm compile {mixed}"


def test_an_engine_of_another_precision_does_not_serve(engines):
    options = msgspec.structs.replace(OPTIONS, target="gpu_trt", precision="fp16")
    with pytest.raises(BundleError, match="has no engine of tensorrt in fp16"):
        TritonServer(engines, options)


def test_an_engine_of_another_graph_is_refused(bundles, tmp_path):
    bundle = Path(shutil.copytree(bundles[0], tmp_path / "bundle"))
    add_engine(bundle, "tensorrt", graph_sha256="0" * 64)
    options = msgspec.structs.replace(OPTIONS, target="gpu_trt")
    with pytest.raises(BundleError, match="built from another graph") as caught:
        TritonServer(bundle, options)
    assert caught.value.command == f"automm compile {bundle}"


@pytest.mark.parametrize("target", ["gpu_ort", "gpu_trt", "gpu_rtx"])
def test_a_target_of_a_gpu_is_refused_where_there_is_none(parts, engines, target, monkeypatch):
    monkeypatch.setattr("automm_serve.triton.preflight.find_gpus", lambda: ())
    options = msgspec.structs.replace(OPTIONS, target=target)
    with pytest.raises(ServerError, match=f"target '{target}': it needs an NVIDIA GPU, and none"):
        TritonServer(engines, options)


def with_stand_in(server: str, backend: str) -> None:
    """Give the server another backend that is written in Python."""
    folder = Path(server) / "backends"
    if not (folder / backend).exists():
        shutil.copytree(folder / "onnxruntime", folder / backend)


@pytest.mark.parametrize("target", ["gpu_ort", "gpu_trt"])
def test_the_real_server_reads_a_configuration_of_a_gpu_and_lacks_the_gpu_alone(
    full_server, engines, target, monkeypatch
):
    monkeypatch.setattr(launch, "check_machine", lambda *given: None)
    with_stand_in(full_server, "tensorrt")
    options = msgspec.structs.replace(OPTIONS, target=target, server=full_server)
    with pytest.raises(ServerError, match="has kind KIND_GPU but no GPUs are available"):
        TritonServer(engines, options)


def test_gpu_ort_serves_with_its_kind_alone_changed(full_server, engines, monkeypatch, tmp_path):
    """The stand-in runs the graph; names, lengths, cache and calls are those of the target."""
    monkeypatch.setattr(launch, "check_machine", lambda *given: None)
    monkeypatch.setenv("AUTOMM_CACHE", str(tmp_path / "cache"))
    for config in engines.glob(f"{REPOSITORY}/tiny__*/configs/gpu_ort*.pbtxt"):
        config.write_text(config.read_text().replace("KIND_GPU", "KIND_CPU"))
    options = msgspec.structs.replace(
        OPTIONS, target="gpu_ort", server=full_server, precision="fp16"
    )
    with TritonServer(engines, options) as server, Client(server.url()) as client:
        assert server.control.target_of("tiny") == ("gpu_ort", "fp16")
        (graph,) = server.bundle.graph_models
        shown = server.control.ask(f"models/{graph}/config")
        accelerators = shown["optimization"]["execution_accelerators"]
        parameters = accelerators["gpu_execution_accelerator"][0]["parameters"]
        folder = tmp_path / "cache" / server.bundle.manifest.content_sha256 / "triton"
        assert parameters["trt_engine_cache_path"] == str(folder)
        assert folder.is_dir()
        assert shown["default_model_filename"] == "model.fp16.onnx"
        found = client.predict_proba(golden(engines))
    np.testing.assert_allclose(found, in_process(engines, "fp16"), atol=1e-5)
    for config in engines.glob(f"{REPOSITORY}/tiny__*/configs/gpu_ort*.pbtxt"):
        assert str(tmp_path) not in config.read_text()  # the bundle's own is as it was


def test_an_engine_in_the_process_is_opened_by_its_ending(parts, engines, monkeypatch):
    """The server's Python lacks TensorRT for RTX: its name in the message says who was asked."""
    monkeypatch.setattr(launch, "check_machine", lambda *given: None)
    for config in (engines / REPOSITORY / "tiny" / "configs").glob("gpu_rtx*.pbtxt"):
        config.write_text(config.read_text().replace("KIND_GPU", "KIND_CPU"))
    options = msgspec.structs.replace(OPTIONS, target="gpu_rtx")
    with pytest.raises(ServerError, match=r"model\.fp32\.rtx: the package 'tensorrt_rtx' is not"):
        TritonServer(engines, options)
