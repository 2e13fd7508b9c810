"""Servers of their own: that start, fail to start, are broken, mended, swapped and stopped."""

import os
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

import automm_serve.wire
from automm_serve.bundle import load
from automm_serve.errors import BundleError, ConfigError, ServerError
from automm_serve.golden import ANSWERS, ROWS, read_answers, read_rows
from automm_serve.manifest import REPOSITORY, encode_manifest, read_manifest
from automm_serve.tensors import concat_tables, take_rows
from automm_serve.triton.client import Client
from automm_serve.triton.launch import TritonServer
from automm_serve.triton.repository import open_served
from automm_serve.triton.watch import watch
from tests.triton.conftest import OPTIONS, accept

pytestmark = pytest.mark.triton


@pytest.fixture
def copied(bundles, tmp_path):
    """A copy of the first bundle, to damage."""
    return Path(shutil.copytree(bundles[0], tmp_path / "copied"))


def public(bundle: Path) -> Path:
    return bundle / REPOSITORY / "tiny"


def left_behind(server: TritonServer) -> list[Path]:
    """What a server that was stopped should not have left."""
    regions = list(Path("/dev/shm").glob(f"{server.process._shm_prefix}*"))
    return [*regions, *([server._scratch] if server._scratch.exists() else [])]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)


def test_a_server_stops_without_a_trace(parts, bundles):
    before = {path: path.stat().st_mtime_ns for path in bundles[0].rglob("*")}
    with TritonServer(bundles[0], OPTIONS) as server:
        pid = server.process.pid
        assert Path(f"/proc/{pid}").exists()
        assert server.process.stubs("tiny")
        assert left_behind(server)
    assert not Path(f"/proc/{pid}").exists()
    assert left_behind(server) == []
    assert {path: path.stat().st_mtime_ns for path in bundles[0].rglob("*")} == before


@pytest.mark.parametrize("option", ["http_port", "grpc_port", "metrics_port"])
def test_a_port_in_use_is_named_with_its_option(parts, bundles, option):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        options = msgspec.structs.replace(OPTIONS, **{option: port})
        with pytest.raises(ServerError, match=f"port {port} .*--{option.replace('_', '-')}"):
            TritonServer(bundles[0], options)


def test_a_server_that_dies_at_start_is_explained_in_one_line(parts, copied, tmp_path):
    graph = next(copied.glob(f"{REPOSITORY}/tiny__*/1/model.onnx"))
    # A sound file, of an operator that there is not: only ONNX Runtime finds that.
    graph.write_bytes(graph.read_bytes().replace(b"Softmax", b"Softmux"))
    options = msgspec.structs.replace(OPTIONS, log_file=tmp_path / "triton.log")
    with pytest.raises(ServerError) as caught:
        TritonServer(copied, options)
    text = str(caught.value)
    assert "model 'tiny': Internal: BundleError" in text
    assert "model.onnx: ONNX Runtime" in text
    assert "\n" not in text
    assert str(tmp_path / "triton.log") in text


def test_a_damaged_configuration_is_explained(parts, copied):
    (public(copied) / "configs" / "cpu.pbtxt").write_text("nonsense {")
    accept(copied)
    with pytest.raises(BundleError, match=r"cpu\.pbtxt, line 1: a bundle of ours has no such line"):
        TritonServer(copied, OPTIONS)


def test_a_server_that_starts_too_slowly_is_stopped(parts, bundles):
    options = msgspec.structs.replace(OPTIONS, ready_timeout_s=0.01)
    with pytest.raises(ServerError, match=r"it is not ready after 0\.01 s"):
        TritonServer(bundles[0], options)


def test_a_model_of_a_stranger_is_not_run(parts, copied):
    (public(copied) / "1" / "model.py").write_text("import os\n")
    with pytest.raises(BundleError, match=r"its model\.py is not the one that"):
        TritonServer(copied, OPTIONS)


def test_a_bundle_without_a_model_is_refused_and_does_not_hang(parts, copied):
    (public(copied) / "1" / "model.py").unlink()
    with pytest.raises(BundleError, match=r"model\.py is missing"):
        TritonServer(copied, OPTIONS)


def test_a_truncated_graph_is_named_before_anything_starts(parts, copied):
    graph = next(copied.glob(f"{REPOSITORY}/tiny__*/1/model.onnx"))
    graph.write_bytes(graph.read_bytes()[:-100])
    with pytest.raises(BundleError, match=r"model\.onnx: it has \d+ bytes, and had"):
        TritonServer(copied, OPTIONS)


def test_a_target_that_was_not_exported_is_refused_with_the_near_one(parts, bundles):
    options = msgspec.structs.replace(OPTIONS, target="cpu_rt")
    with pytest.raises(ConfigError, match="'cpu_rt', but for 'cpu_ort'"):
        TritonServer(bundles[0], options)


def test_a_configuration_for_another_target_is_seen(parts, copied):
    configs = public(copied) / "configs"
    text = (configs / "cpu.pbtxt").read_text()
    changed = text.replace('string_value: "cpu"', 'string_value: "gpu_rtx"')
    assert changed != text
    (configs / "cpu.pbtxt").write_text(changed)
    accept(copied)
    with pytest.raises(ServerError, match="loaded the target 'gpu_rtx' where 'cpu' was asked"):
        TritonServer(copied, OPTIONS)


def test_golden_answers_that_differ_stop_the_start(parts, copied):
    answers = msgspec.json.decode((copied / ANSWERS).read_bytes())
    answers["programs"]["predict"]["probabilities"][3][0] += 0.01
    (copied / ANSWERS).write_bytes(msgspec.json.encode(answers))
    accept(copied)
    with pytest.raises(ServerError, match=r"'probabilities': the golden answers differ by 0\.01"):
        TritonServer(copied, OPTIONS)


def test_without_golden_rows_a_row_of_gaps_is_asked(parts, copied):
    _, manifest = read_manifest(copied)
    (copied / "bundle.json").write_bytes(
        encode_manifest(msgspec.structs.replace(manifest, golden=None))
    )
    shutil.rmtree(copied / "golden")
    accept(copied)
    with TritonServer(copied, OPTIONS) as server:
        assert server.find_fault() == ""


def test_an_old_server_is_not_shown_to_other_machines(parts, bundles):
    if parts.release is not None and parts.release >= (26, 7):
        pytest.skip("this server may be shown")
    options = msgspec.structs.replace(OPTIONS, host="0.0.0.0")
    with pytest.raises(ConfigError, match="published holes"):
        TritonServer(bundles[0], options)


@pytest.mark.parametrize("victim", ["stub", "server"])
def test_what_is_killed_is_seen_and_mended_and_the_reason_is_said(parts, bundles, victim):
    said: list[str] = []
    stop = threading.Event()
    with TritonServer(bundles[0], OPTIONS) as server:
        client = Client(server.url())
        table = take_rows(read_rows(bundles[0] / ROWS, client.facts.schema), range(2))
        expected = client.predict_proba(table)
        dog = threading.Thread(
            target=watch, args=(server, stop, said.append), kwargs={"every_s": 0.1}
        )
        dog.start()
        pid = server.process.stubs("tiny").pop() if victim == "stub" else server.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while "it answers again" not in said and time.monotonic() < deadline:
            time.sleep(0.05)
        stop.set()
        dog.join()
        # gRPC waits before it connects again, so a fresh client asks.
        np.testing.assert_allclose(Client(server.url()).predict_proba(table), expected, atol=1e-6)
    reason = {"stub": "is not healthy", "server": "the server ended with -9"}[victim]
    assert reason in said[0]
    assert said[-1] == "it answers again"


def swap_under_load(server: TritonServer, bundles: list[Path], swaps: int) -> Counter[str]:
    """Two clients ask all the golden rows all the time; count what they are answered."""
    schema = load(bundles[0], threads=1).pipeline.schema
    golden = read_rows(bundles[0] / ROWS, schema)
    # Three requests, one after another: all rows of a call must be answered by one bundle.
    table = concat_tables([golden] * 6)
    whole = [load(bundle, threads=1).predict_proba(table) for bundle in bundles]
    # Each row tells its bundle: a mixture cannot pass for either.
    assert np.abs(whole[0] - whole[1]).max(axis=1).min() > 1e-3
    tally: Counter[str] = Counter()
    end = threading.Event()

    def ask(scheme: str) -> None:
        with Client(server.url(scheme), in_flight=1) as client:
            while not end.is_set():
                answer, errors = client.predict_proba(table, return_errors=True)
                if errors:
                    tally["failed rows"] += 1
                    continue
                near = [np.abs(answer - one).max() < 1e-4 for one in whole]
                tally[("old", "new")[near.index(True)] if any(near) else "mixed"] += 1

    def ask_and_count(scheme: str) -> None:
        try:
            ask(scheme)
        except Exception as error:
            tally[f"failed: {error}"] += 1

    threads = [threading.Thread(target=ask_and_count, args=(s,)) for s in ("grpc", "http")]
    for thread in threads:
        thread.start()
    try:
        for number in range(swaps):
            server.swap(bundles[(number + 1) % 2])
    finally:
        end.set()
        for thread in threads:
            thread.join()
    return tally


def test_thirty_swaps_under_load_give_no_mixed_and_no_failed_answer(parts, bundles):
    with TritonServer(bundles[0], OPTIONS) as server:
        tally = swap_under_load(server, bundles, 30)
    assert set(tally) == {"old", "new"}, tally
    assert min(tally.values()) >= 15, tally


def test_graphs_that_are_models_of_their_own_are_swapped_with_their_caller(full_server, bundles):
    options = msgspec.structs.replace(OPTIONS, target="cpu_ort", server=full_server)
    with TritonServer(bundles[0], options) as server:
        with Client(server.url()) as client:
            assert client.target == "cpu_ort"
        tally = swap_under_load(server, bundles, 2)
        kept, gone = (open_served(bundle, "cpu_ort").graphs[0] for bundle in bundles)
        assert server.control.is_ready(kept)
        assert not server.control.is_ready(gone)
    assert set(tally) == {"old", "new"}, tally


def test_a_graph_stays_until_the_last_request_that_calls_it_is_answered(full_server, bundles):
    options = msgspec.structs.replace(OPTIONS, target="cpu_ort", server=full_server)
    table = {"title": ["cat"] * 2 + ["the old dog sat " * 9] * 2}  # two lengths, so two calls
    hold = Path(full_server) / "hold"
    (graph,) = open_served(bundles[0], "cpu_ort").graphs
    with TritonServer(bundles[0], options) as server, ThreadPoolExecutor(2) as pool:
        old = Client(server.url(), timeout_s=120)
        expected = load(bundles[0], threads=1).run(table).columns["kind"]
        hold.write_text(graph)
        answer = pool.submit(old.run, table)
        wait_until(hold.with_name("held").exists)  # the old model is in its first call
        swap = pool.submit(server.swap, bundles[1])
        wait_until(lambda: server.bundle.path == bundles[1])
        server.check()
        time.sleep(0.5)  # long enough to unload its graph, were that not waited for
        assert not swap.done()
        hold.unlink()
        assert answer.result().columns["kind"] == expected
        swap.result()


def test_a_bundle_that_fails_does_not_take_the_place_of_the_one_that_serves(parts, bundles, copied):
    graph = next(copied.glob(f"{REPOSITORY}/tiny__*/1/model.onnx"))
    # Only ONNX Runtime finds that there is no such operator.
    graph.write_bytes(graph.read_bytes().replace(b"Softmax", b"Softmux"))
    with TritonServer(bundles[1], OPTIONS) as server, Client(server.url()) as client:
        table = read_rows(bundles[1] / ROWS, client.facts.schema)
        expected = client.predict_proba(table)
        with pytest.raises(ServerError, match=r"model\.onnx: ONNX Runtime"):
            server.swap(copied)
        assert server.bundle.path == bundles[1]
        np.testing.assert_allclose(client.predict_proba(table), expected, atol=1e-6)
        assert server.find_fault() == ""


def test_a_bundle_goes_on_though_another_that_fails_was_laid_over_its_files(parts, bundles, copied):
    shutil.copytree(bundles[1], other := copied.with_name("other"))
    with TritonServer(copied, OPTIONS) as server, Client(server.url()) as client:
        table = read_rows(copied / ROWS, client.facts.schema)
        expected = client.predict_proba(table)
        answers = read_answers(other / ANSWERS)
        answers.programs["predict"]["probabilities"][0] = [0.0, 0.0, 1.0]
        (other / ANSWERS).write_bytes(msgspec.json.encode(answers))
        accept(other)
        shutil.rmtree(copied)
        other.rename(copied)  # as an export that replaces it
        with pytest.raises(ServerError, match="the golden answers differ"):
            server.swap(copied)
        server.repair()  # loads the files anew: those that are held
        np.testing.assert_allclose(client.predict_proba(table), expected, atol=1e-6)


def test_the_pip_server_has_no_backend_for_graphs_of_their_own(parts, bundles):
    if any(backend.name == "onnxruntime" for backend in parts.backends):
        pytest.skip("this server has it")
    options = msgspec.structs.replace(OPTIONS, target="cpu_ort")
    with pytest.raises(ServerError, match="needs Triton's backend 'onnxruntime'"):
        TritonServer(bundles[0], options)


def test_the_runtime_beside_the_stub_is_this_one(server):
    served = server._scratch / "backends" / "python" / "automm_serve" / "wire.py"
    assert served.resolve() == Path(automm_serve.wire.__file__).resolve()
