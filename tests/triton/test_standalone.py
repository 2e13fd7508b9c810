"""The real server, started by hand on a bundle: no launcher, and no runtime but lib/."""

import platform
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from automm_export.export import ExportOptions
from automm_serve.errors import ExportError
from automm_serve.manifest import REPOSITORY
from automm_serve.triton.canary import ask_canary, read_canary
from automm_serve.triton.control import Control
from automm_serve.triton.launch import TritonServer
from automm_serve.triton.preflight import take_port
from automm_serve.triton.process import ServerProcess
from automm_serve.triton.repository import open_served
from tests.automm_export.tiny import export_tiny
from tests.needs import require_or_skip
from tests.triton.conftest import OPTIONS

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def standalone(parts, tmp_path_factory):
    """A bundle that carries its runtime for the server's Python."""
    tag = f"cp{parts.facts.version.replace('.', '')}-{platform.machine()}"
    options = ExportOptions(standalone=(tag,), largest_file=100)
    try:
        return export_tiny(tmp_path_factory.mktemp("standalone") / "bundle", options=options)
    except ExportError as error:
        require_or_skip("pip", f"pip reaches no index: {error}")


@pytest.fixture
def bare(parts, tmp_path):
    """The server with a Python that has numpy and ONNX Runtime: none of what a bundle carries."""
    home = tmp_path / "bare"
    made = [parts.python, "-m", "venv", "--symlinks", "--without-pip", home]
    subprocess.run(made, check=True, capture_output=True)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    source, target = (
        Path(subprocess.check_output([python, "-c", ask], text=True).strip())
        for python in (parts.python, home / "bin" / "python")
    )
    for name in ("numpy", "numpy.libs", "onnxruntime"):
        if (source / name).exists():
            (target / name).symlink_to(source / name)
    backend = next(folder for folder in parts.backends if folder.name == "python")
    backends = tmp_path / "backends"
    (backends / "python").mkdir(parents=True)
    for file in (*backend.iterdir(), *([parts.stub] if parts.stub else [])):
        if file.name != "__pycache__":
            (backends / "python" / file.name).symlink_to(file)
    return msgspec.structs.replace(parts, python=home / "bin" / "python"), backends


def start(bare, bundle, tmp_path):
    """A server on the bundle's own repository, and what asks it."""
    parts, backends = bare
    ports = [take_port("127.0.0.1", 0, "port") for _ in range(3)]
    flags = [
        f"--model-repository={bundle / REPOSITORY}",
        "--model-config-name=cpu",
        "--model-control-mode=explicit",
        "--load-model=tiny",
        f"--backend-directory={backends}",
        "--disable-auto-complete-config",
        "--allow-gpu-metrics=false",
    ]
    for name, port in zip(("http", "grpc", "metrics"), ports, strict=True):
        flags += [f"--{name}-address=127.0.0.1", f"--{name}-port={port}"]
    process = ServerProcess(parts, tmp_path / "server.log", exit_timeout_s=2)
    process.start(flags)
    return process, Control(f"127.0.0.1:{ports[0]}", "")


def test_a_stock_server_answers_the_golden_rows_with_the_runtime_that_the_bundle_carries(
    standalone, bare, tmp_path
):
    process, control = start(bare, standalone, tmp_path)
    try:
        process.wait_until(lambda: control.is_ready("tiny"), 60)
        ask_canary(control, "tiny", read_canary(open_served(standalone, "cpu")), 30)
        (stub,) = process.stubs("tiny")
        loaded = Path(f"/proc/{stub}/maps").read_text()
        assert f"{standalone}/lib/" in loaded  # Pillow's, msgspec's and tokenizers' libraries
    finally:
        process.end()


def test_the_same_server_without_lib_says_what_it_lacks(standalone, bare, tmp_path):
    copied = Path(shutil.copytree(standalone, tmp_path / "copied"))
    shutil.rmtree(copied / "lib")
    process, control = start(bare, copied, tmp_path)
    try:
        with pytest.raises(Exception, match="No module named 'automm_serve'"):
            process.wait_until(lambda: control.is_ready("tiny"), 60)
    finally:
        process.end()


def test_the_launcher_runs_its_own_runtime_and_nothing_of_lib(parts, standalone):
    """Nobody's code is run from a bundle: a module that is there alone cannot be imported."""
    with TritonServer(standalone, OPTIONS) as server:
        (stub,) = server.process.stubs("tiny")
        assert f"{standalone}/lib/" not in Path(f"/proc/{stub}/maps").read_text()
        code = server.bundle.folder("tiny") / "1" / "model.py"
        assert not (code.resolve().parents[3] / "lib").exists()
