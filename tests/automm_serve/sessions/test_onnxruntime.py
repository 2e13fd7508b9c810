from __future__ import annotations

import base64
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from automm_serve.errors import BundleError
from automm_serve.sessions import SESSIONS, Session
from automm_serve.sessions.onnxruntime import OnnxRuntimeSession
from automm_serve.tensors import BATCH, TensorSpec
from automm_serve.threads import VARIABLE

IDS = TensorSpec("ids", "float32", (BATCH, 2))
TWICE = TensorSpec("twice", "float32", (BATCH, 2))
MINUS = TensorSpec("minus", "float32", (BATCH, 2))

# ids float32 (batch, 2) -> twice = ids + ids, minus = -ids; opset 20, ir_version 9, written with
# onnx.helper. As bytes, because the runtime's own environment has no onnx.
GRAPH = base64.b64decode(
    "CAkSADqGAQoWCgNpZHMKA2lkcxIFdHdpY2UiA0FkZAoRCgNpZHMSBW1pbnVzIgNOZWcSAWdaGgoDaWRzEhMKEQgB"
    "Eg0KBxIFYmF0Y2gKAggCYhwKBXR3aWNlEhMKEQgBEg0KBxIFYmF0Y2gKAggCYhwKBW1pbnVzEhMKEQgBEg0KBxIF"
    "YmF0Y2gKAggCQgQKABAU"
)


@pytest.fixture
def path(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(GRAPH)
    return tmp_path / "model.onnx"


def test_a_graph_runs_over_any_number_of_rows_and_gives_what_was_asked_for(path):
    session: Session = OnnxRuntimeSession(path, (IDS,), (MINUS, TWICE), threads=1)
    for rows in (1, 2, 7):
        ids = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
        found = session.run({"ids": ids, "unread": np.zeros(rows)})
        assert list(found) == ["minus", "twice"]
        np.testing.assert_array_equal(found["twice"], ids * 2)
        np.testing.assert_array_equal(found["minus"], -ids)
    only = OnnxRuntimeSession(path, (IDS,), (TWICE,), threads=1)
    assert list(only.run({"ids": ids})) == ["twice"]


def test_the_threads_are_those_of_the_budget_unless_said(path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "3")
    budget = OnnxRuntimeSession(path, (IDS,), (TWICE,)).live.get_session_options()
    assert budget.intra_op_num_threads == 3
    assert budget.inter_op_num_threads == 1
    told = OnnxRuntimeSession(path, (IDS,), (TWICE,), threads=1).live.get_session_options()
    assert told.intra_op_num_threads == 1


@pytest.mark.parametrize("content", [b"", b"no graph", GRAPH[:40], GRAPH[:-3] + b"\xff" * 40, None])
def test_a_file_that_is_no_graph_is_named(tmp_path, content):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.onnx: ONNX Runtime [\d.]+ does not load"):
        OnnxRuntimeSession(path, (IDS,), (TWICE,), threads=1)


def test_a_graph_that_reads_other_tensors_than_the_bundle_says_is_refused(path):
    with pytest.raises(BundleError, match=r"the graph reads \['ids'\], the bundle says \['mask'\]"):
        OnnxRuntimeSession(path, (TensorSpec("mask", "float32", (BATCH, 2)),), (TWICE,), threads=1)


def test_a_closed_session_says_so(path):
    session = OnnxRuntimeSession(path, (IDS,), (TWICE,), threads=1)
    session.close()
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.run({"ids": np.zeros((1, 2), np.float32)})


def test_every_session_of_the_registry_is_a_module_of_this_project():
    root = Path(__file__).parents[3]
    for module in SESSIONS.values():
        package = "serve" if module.startswith("automm_serve") else "export"
        assert (root / package / f"{module.replace('.', os.sep)}.py").is_file()
