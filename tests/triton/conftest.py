"""The real server, found as the product finds it, on bundles of the real exporter."""

import os

import msgspec
import pytest

from automm_export.writer import list_files, write_manifest
from automm_serve.bundle import load
from automm_serve.errors import ServerError
from automm_serve.manifest import read_manifest
from automm_serve.triton.launch import ServerOptions, TritonServer
from automm_serve.triton.locate import locate
from tests.needs import require_or_skip


@pytest.fixture(scope="session")
def parts():
    """Where the server lies; a skip with the reason where there is none."""
    try:
        return locate()
    except ServerError as error:
        require_or_skip("triton", str(error))


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """Two bundles of the same columns that answer every golden row differently."""
    from tests.automm_export.tiny import export_tiny

    folder = tmp_path_factory.mktemp("bundles")
    return [export_tiny(folder / f"seed{seed}", seed) for seed in (0, 1)]


@pytest.fixture(scope="session")
def local(bundles):
    """The predictor of the first bundle, in process."""
    return load(bundles[0], threads=1)


@pytest.fixture(scope="session")
def server(parts, bundles):
    """A server with the first bundle, for tests that only ask it."""
    with TritonServer(bundles[0], OPTIONS) as running:
        yield running


@pytest.fixture
def full_server(parts, tmp_path, monkeypatch):
    """Path of a server that has Triton's backend `onnxruntime`, as a container's has.

    The pip server lacks it, so a backend written in Python stands in its place: what the
    exporter wrote for `cpu_ort` is loaded as it is.
    """
    root = tmp_path / "server"
    (root / "backends" / "python").mkdir(parents=True)
    (root / "backends" / "onnxruntime").mkdir()
    (root / "bin").mkdir()
    (root / "bin" / "tritonserver").symlink_to(parts.binary)
    python = next(backend for backend in parts.backends if backend.name == "python")
    for file in (*python.iterdir(), *([parts.stub] if parts.stub else [])):
        (root / "backends" / "python" / file.name).symlink_to(file)
    stand_in = STAND_IN.replace("HOLD_PATH", str(root / "hold"))
    (root / "backends" / "onnxruntime" / "model.py").write_text(stand_in)
    monkeypatch.setenv("PATH", f"{parts.python.parent}{os.pathsep}{os.environ['PATH']}")
    return str(root)


def accept(bundle):
    """Let the manifest list the files as they are now: what a stranger could write."""
    _, manifest = read_manifest(bundle)
    write_manifest(bundle, msgspec.structs.replace(manifest, files=list_files(bundle)))


OPTIONS = ServerOptions(exit_timeout_s=2)

STAND_IN = """
import json, time
from pathlib import Path
import onnxruntime, triton_python_backend_utils as pb_utils

HOLD = Path("HOLD_PATH")  # while it is there, the graph that it names waits, and says so

class TritonPythonModel:
    def initialize(self, args):
        file = json.loads(args["model_config"])["default_model_filename"]
        path = Path(args["model_repository"]) / args["model_version"] / file
        self.live = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.name = args["model_name"]

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        names = [value.name for value in self.live.get_inputs()]
        feed = {n: pb_utils.get_input_tensor_by_name(request, n).as_numpy() for n in names}
        deadline = time.monotonic() + 120
        while self.is_held() and time.monotonic() < deadline:
            HOLD.with_name("held").touch()
            time.sleep(0.02)
        outputs = [value.name for value in self.live.get_outputs()]
        found = zip(outputs, self.live.run(outputs, feed))
        return pb_utils.InferenceResponse([pb_utils.Tensor(n, t) for n, t in found])

    def is_held(self):
        try:
            return HOLD.read_text() == self.name
        except FileNotFoundError:
            return False
"""
