"""A builder in a process of its own: TensorRT for RTX, as it is, and what befalls a process."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from automm_export.engines import apart
from automm_export.engines.apart import build_apart
from automm_export.engines.job import Event, Step
from automm_serve.errors import ExportError
from tests.automm_export.engines.graphs import job_of, write_graph
from tests.needs import need_rtx

GOOD = ("MatMul", "model.head.linear/MatMul_7")


@pytest.fixture
def graph(tmp_path):
    need_rtx()
    return write_graph(tmp_path / "model.onnx", GOOD)


@pytest.mark.rtx
def test_an_engine_is_built_and_progress_told(graph):
    told: list[Event] = []
    done = build_apart(job_of(graph), told.append)
    assert graph.with_name("model.fp32.rtx").stat().st_size == done.size_bytes > 1000
    shares = [event.share for event in told if isinstance(event, Step)]
    assert shares == sorted(shares)
    assert shares[-1] > 0.5


@pytest.mark.rtx
def test_weights_beside_the_graph_are_found(tmp_path):
    need_rtx()
    graph = write_graph(tmp_path / "model.onnx", GOOD, beside=True)
    assert (tmp_path / "w.data").is_file()
    assert build_apart(job_of(graph)).size_bytes > 1000


@pytest.mark.rtx
def test_operators_that_the_builder_lacks_are_named_with_their_modules(tmp_path):
    need_rtx()
    graph = write_graph(
        tmp_path / "model.onnx",
        ("Relu", "model.encoders.hf_text.act/Relu_1"),
        ("Unique", "model.encoders.hf_text.backbone.ids/Unique_3"),
        ("BitwiseNot", "model.fusion.mask/BitwiseNot_1"),
    )
    with pytest.raises(ExportError) as raised:
        build_apart(job_of(graph))
    what = raised.value.what
    assert "Unique of module model.encoders.hf_text.backbone.ids" in what
    assert "BitwiseNot of module model.fusion.mask" in what
    assert "Relu" not in what
    assert not graph.with_name("model.fp32.rtx").exists()


@pytest.mark.rtx
def test_a_mistake_in_a_graph_names_the_node_and_its_reason(tmp_path):
    need_rtx()
    graph = write_graph(tmp_path / "model.onnx", GOOD, depth=3)
    with pytest.raises(ExportError, match=r"module model\.head\.linear.*must match"):
        build_apart(job_of(graph))


@pytest.mark.rtx
def test_a_failure_of_the_build_itself_names_the_module(graph):
    with pytest.raises(ExportError, match=r"MatMul of module model\.head\.linear.*FP32 GEMM"):
        build_apart(job_of(graph, capabilities=("7.5",)))


@pytest.mark.rtx
def test_a_failure_without_a_node_keeps_the_words_of_the_builder(graph):
    with pytest.raises(ExportError, match="no optimization profile has been defined"):
        build_apart(job_of(graph, profiles=()))


@pytest.mark.rtx
def test_a_file_that_is_no_graph_is_an_error(graph):
    graph.write_bytes(b"\x00\x01 no graph" * 20)
    with pytest.raises(ExportError, match=r"graph model\.onnx"):
        build_apart(job_of(graph))


@pytest.mark.rtx
def test_an_interruption_ends_the_builder_and_leaves_no_file(graph):
    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_apart(job_of(graph), interrupt)
    assert [path.name for path in graph.parent.iterdir()] == ["model.onnx"]


def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Another program in the builder's place."""
    script = tmp_path / "child.py"
    script.write_text(f"import os, sys, time\nsys.stdin.readline()\n{code}\n")
    original = subprocess.Popen

    def start(command: list[str], **pipes: Any) -> object:
        return original([command[0], str(script)], **pipes)

    monkeypatch.setattr(subprocess, "Popen", start)


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("os.kill(os.getpid(), 9)", "ran out of memory: the system ended it"),
        ("os.kill(os.getpid(), 11)", "it crashed by signal 11"),
        ("sys.exit('no such library')", "it ended with 1: no such library"),
    ],
)
def test_a_builder_that_dies_is_an_error_and_no_half_file(tmp_path, monkeypatch, code, what):
    engine = tmp_path / "model.fp32.rtx"
    child(tmp_path, monkeypatch, f"open({str(engine)!r}, 'wb').write(b'half')\n{code}")
    with pytest.raises(ExportError, match=what):
        build_apart(job_of(tmp_path / "model.onnx"))
    assert not engine.exists()


@pytest.fixture
def heeds_ctrl_c():
    """A process that a shell puts in the background ignores Ctrl-C, and so would this test."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_a_builder_that_does_not_listen_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(apart, "PATIENCE_S", 0.2)
    pid = tmp_path / "pid"
    child(
        tmp_path,
        monkeypatch,
        f"open({str(pid)!r}, 'w').write(str(os.getpid()))\n"
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(60)",
    )

    def interrupt() -> None:
        for _ in range(200):
            if pid.is_file() and pid.read_text():
                break
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build_apart(job_of(tmp_path / "model.onnx"))
    assert time.monotonic() - began < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_the_library_may_print_what_it_likes(tmp_path, monkeypatch):
    noise = "sys.stderr.write('x' * 1_000_000)\n"  # more than a pipe holds
    done = 'print(\'{"type":"Done","version":"1","size_bytes":3}\')'
    child(tmp_path, monkeypatch, noise + done)
    assert build_apart(job_of(tmp_path / "model.onnx")).version == "1"
