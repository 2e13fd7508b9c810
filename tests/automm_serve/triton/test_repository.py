"""Choosing and holding a bundle, and swaps that fail on the way, without a server."""

import shutil
import signal
from threading import RLock
from types import SimpleNamespace

import msgspec
import pytest
from click.testing import CliRunner

from automm.cli.main import main
from automm_serve.errors import BundleError, ConfigError, ServerError
from automm_serve.triton import repository
from automm_serve.triton.canary import read_canary
from automm_serve.triton.configs import _precision_in
from automm_serve.triton.launch import ServerOptions, TritonServer
from automm_serve.triton.repository import hold, open_served
from tests.automm_serve import frozen


@pytest.mark.parametrize("target", ["cpu.fp32", "cpu_ort.fp32", "../configs/cpu", "", "gpu"])
def test_a_target_is_one_of_the_manifest_and_no_name_of_a_file(target):
    with pytest.raises(ConfigError, match="not exported for the target"):
        open_served(frozen.V2, target)


def test_a_precision_that_there_is_not_is_refused(tmp_path):
    path = tmp_path / "cpu.pbtxt"
    path.write_text('  key: "automm_precision"\n  value {\n    string_value: "fp12"\n')
    with pytest.raises(ConfigError, match="precision 'fp12'"):
        _precision_in(path)
    served = msgspec.structs.replace(open_served(frozen.V2, "cpu"), precision="bf16")
    with pytest.raises(ConfigError, match="precision 'bf16'"):
        read_canary(served)


def test_rows_that_went_away_are_one_error(tmp_path):
    served = open_served(frozen.copy(tmp_path), "cpu")
    (served.path / "golden" / "rows.jsonl").unlink()
    with pytest.raises(BundleError, match="golden rows cannot be read"):
        read_canary(served)
    shutil.rmtree(served.path)
    with pytest.raises(BundleError):
        read_canary(served)


def test_what_is_not_listed_is_not_held(tmp_path):
    bundle = frozen.copy(tmp_path)
    served = open_served(bundle, "cpu")
    for folder in (served.folder("tiny"), served.folder(served.graphs[0]), bundle):
        (folder / "libtriton_python.so").touch()
    held = hold(served, tmp_path / "scratch", "cpu")
    assert held.held is not None
    found = {path.relative_to(held.held).as_posix() for path in held.held.rglob("*.*")}
    listed = {name.partition("/")[2] for name in served.manifest.files}
    assert found <= listed
    assert {"tiny/1/model.py", "tiny/configs/cpu.pbtxt"} <= found


def test_what_cannot_be_held_leaves_nothing(tmp_path):
    served = open_served(frozen.copy(tmp_path), "cpu")
    (served.path / "model_repository" / "tiny" / "warmup" / "row2").unlink()
    (tmp_path / "scratch").mkdir()
    with pytest.raises(ServerError, match=r"it cannot be held: .*row2"):
        hold(served, tmp_path / "scratch", "cpu")
    assert not list((tmp_path / "scratch").iterdir())


def test_a_file_that_goes_away_meanwhile_is_no_crash(monkeypatch):
    def gone(*args: object) -> None:
        raise FileNotFoundError("gone")

    monkeypatch.setattr(repository, "check_models", gone)
    with pytest.raises(BundleError, match="it cannot be read: gone"):
        open_served(frozen.V1, "cpu")


class Control:
    """Loads everything, and unloads nothing."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def load(self, name: str, timeout_s: float) -> None:
        self.loaded.append(name)

    def unload(self, name: str) -> None:
        raise ServerError(where="unload", what="refused", mend="Nothing")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A launcher without a server, that serves the frozen bundle of format 1 for cpu_ort."""
    (tmp_path / "scratch" / "repository").mkdir(parents=True)
    made = TritonServer.__new__(TritonServer)
    made.options = ServerOptions(target="cpu_ort")
    made._scratch = tmp_path / "scratch"
    made._repository = made._scratch / "repository"
    made._config = "cpu_ort"
    made._lock = RLock()
    made.bundle = hold(open_served(frozen.V1, "cpu_ort"), made._scratch, "cpu_ort")
    made._canary = read_canary(made.bundle)
    made.control = Control()  # type: ignore[assignment]
    made.process = SimpleNamespace(stubs=lambda name: set())  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OSError("the disk is full"), ServerError, "cannot be taken: the disk is full"),
        (RuntimeError("odd"), ServerError, "cannot be taken: odd"),
        (BundleError(where="a", what="b", mend="C"), BundleError, "a: b"),
        (ServerError(where="a", what="b", mend="C"), ServerError, "a: b"),
    ],
)
def test_whatever_fails_in_a_swap_is_taken_back_and_said(server, monkeypatch, error, kind, said):
    old = server.bundle

    def check() -> None:
        if server.bundle is not old:
            raise error

    monkeypatch.setattr(server, "check", check)
    with pytest.raises(kind, match=said):
        server.swap(frozen.V2)
    assert server.bundle is old
    assert server.control.loaded[-1] == "tiny"
    assert [path.name for path in server._scratch.glob("held_*")] == [old.held.name]
    link = server._repository / old.graphs[0]
    assert link.resolve() == old.folder(old.graphs[0])


def test_where_the_old_one_fails_too_both_are_said(server, monkeypatch):
    monkeypatch.setattr(server, "check", lambda: (_ for _ in ()).throw(OSError("no disk")))
    with pytest.raises(ServerError, match=r"it fails \(no disk\), and the one before cannot be"):
        server.swap(frozen.V2)


def test_a_swap_that_cannot_be_held_changes_nothing(server, monkeypatch):
    old = server.bundle

    def full(*args: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(repository, "_link_or_copy", full)
    with pytest.raises(ServerError, match="it cannot be held: the disk is full"):
        server.swap(frozen.V2)
    assert server.bundle is old
    assert server.control.loaded == []


def test_a_graph_that_is_not_unloaded_does_not_spoil_a_swap(server, monkeypatch):
    monkeypatch.setattr(server, "check", lambda: None)
    server.swap(frozen.V2)
    assert server.bundle.path == frozen.V2
    assert len(list(server._scratch.glob("held_*"))) == 1


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_before_the_server_is_ready_interrupts_the_launcher(monkeypatch, number):
    seen = []

    def start(*args: object) -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:  # here the launcher ends the server
            seen.append(number)
            raise

    handlers = {each: signal.getsignal(each) for each in (signal.SIGHUP, signal.SIGTERM)}
    monkeypatch.setattr("automm_serve.triton.launch.TritonServer", start)
    try:
        assert CliRunner().invoke(main, ["serve", str(frozen.V1)]).exit_code != 0
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
    assert seen == [number]
