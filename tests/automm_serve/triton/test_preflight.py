import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from automm_serve.engines import BuilderName, Engine, Profile, Range
from automm_serve.errors import BundleError, ConfigError, ServerError
from automm_serve.gpu import Gpu
from automm_serve.manifest import FileFacts, read_manifest
from automm_serve.triton.locate import PythonFacts, ServerParts
from automm_serve.triton.preflight import (
    check_backend,
    check_gpu,
    check_host,
    check_python,
    is_loopback,
    take_port,
)
from automm_serve.triton.repository import ServedBundle
from tests.automm_serve import frozen

PARTS = ServerParts(
    "the managed environment",
    Path("/bin/true"),
    Path("python"),
    PythonFacts("3.11", "1.26.4", "", "", True, "", ()),
    (Path("/backends/python"),),
    Path("stub"),
    (24, 10),
)


def with_facts(**changes: Any) -> ServerParts:
    facts = msgspec.structs.replace(PARTS.facts, **changes)
    return msgspec.structs.replace(PARTS, facts=facts)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"numpy": "2.1.0"}, "numpy 2.1.0 is there, its stub needs numpy below 2"),
        ({"absent": ("PIL", "msgspec")}, "lacks PIL, msgspec"),
        ({"shared": False}, "without the shared libpython"),
        ({"automm_serve": "/site-packages/automm_serve"}, "another automm_serve is installed"),
    ],
)
def test_a_python_that_would_misbehave_is_refused_with_the_command(changes, said):
    with pytest.raises(ServerError, match=said) as caught:
        check_python(with_facts(**changes), "cpu_ort")
    assert caught.value.command == "automm triton install"


def test_a_fitting_python_passes():
    check_python(PARTS, "cpu_ort")


def test_a_target_without_its_backend_is_refused():
    check_backend(PARTS, "cpu")
    with pytest.raises(ServerError, match="needs Triton's backend 'tensorrt', and the managed"):
        check_backend(PARTS, "gpu_trt")


@pytest.mark.parametrize("release", [(24, 10), (26, 6), None])
def test_old_and_unknown_releases_stay_on_loopback(release):
    parts = msgspec.structs.replace(PARTS, release=release)
    check_host(parts, "127.0.0.1")
    with pytest.raises(ConfigError, match="published holes"):
        check_host(parts, "0.0.0.0")


@pytest.mark.parametrize("release", [(26, 7), (27, 1)])
def test_a_new_release_may_be_shown(release):
    check_host(msgspec.structs.replace(PARTS, release=release), "0.0.0.0")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_what_only_this_machine_reaches(host, loopback):
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_refused_with_its_option(port):
    with pytest.raises(ConfigError, match=f"--grpc-port {port}: there is no such port"):
        take_port("127.0.0.1", port, "--grpc-port")


def test_a_port_that_is_asked_for_twice_is_refused():
    with pytest.raises(ConfigError, match="another of the three options has this port"):
        take_port("127.0.0.1", 8000, "--grpc-port", [8000])


# -- a GPU, and an engine for it -------------------------------------------------------------------


def served(target: str, builder: BuilderName | None = None, *capabilities: str) -> ServedBundle:
    """The frozen bundle for a target, with an engine for these GPUs."""
    _, manifest = read_manifest(frozen.V1)
    name, graph = next(iter(manifest.graphs.items()))
    files = dict(manifest.files)
    if builder:
        path = "model_repository/g/1/model" + {"tensorrt": ".plan", "tensorrt_rtx": ".rtx"}[builder]
        profile = Profile({"batch": Range(1, 4, 8)})
        engine = Engine(path, builder, "10.1", "fp32", capabilities, "", (profile,), "")
        graph = msgspec.structs.replace(graph, engines=(engine,))
        files[path] = FileFacts("", 0)
    graphs = {name: graph}
    manifest = msgspec.structs.replace(manifest, graphs=graphs, files=files)
    return ServedBundle(frozen.V1, manifest, target)


@pytest.mark.parametrize("target", ["gpu_ort", "gpu_trt", "gpu_rtx"])
def test_a_target_of_a_gpu_needs_one(target):
    with pytest.raises(ServerError, match=f"target '{target}': it needs an NVIDIA GPU, and none"):
        check_gpu(served(target), ())


@pytest.mark.parametrize("target", ["cpu", "cpu_ort"])
def test_a_target_of_the_cpu_needs_none(target):
    check_gpu(served(target), ())


def test_the_engines_must_be_for_every_gpu_that_is_here():
    cards = (Gpu("First", "8.6", 1), Gpu("Second", "9.0", 1))
    check_gpu(served("gpu_trt", "tensorrt", "8.6", "9.0"), cards)
    check_gpu(served("gpu_rtx", "tensorrt_rtx", "8.6"), cards[:1])
    check_gpu(served("gpu_ort"), cards)  # it builds its own
    with pytest.raises(BundleError, match=r"capability 8\.6, and Second has 9\.0") as caught:
        check_gpu(served("gpu_trt", "tensorrt", "8.6"), cards)
    assert caught.value.command == f"automm compile {frozen.V1}"


def test_requests_are_no_larger_than_the_engines_take():
    assert served("gpu_trt", "tensorrt", "8.6").max_batch == 8
    assert served("gpu_trt").max_batch == served("cpu").max_batch == 32


def test_a_target_of_rtx_needs_its_library_in_the_servers_python(monkeypatch):
    parts = msgspec.structs.replace(PARTS, python=Path(sys.executable))

    def without_cuda(python: Path, modules: tuple[str, ...]) -> PythonFacts:
        assert modules == ("tensorrt_rtx", "cuda")
        return msgspec.structs.replace(PARTS.facts, absent=("cuda",))

    monkeypatch.setattr("automm_serve.triton.preflight.probe", without_cuda)
    with pytest.raises(ServerError, match=r"the server's Python lacks .*cuda") as caught:
        check_python(parts, "gpu_rtx")
    assert caught.value.command == f"{sys.executable} -m pip install 'automm-edge[tensorrt-rtx]'"
