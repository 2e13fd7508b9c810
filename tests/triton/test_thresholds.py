"""A threshold on the real server: labels flip there where it says so, and nowhere else."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from automm_export.export import export
from automm_serve.answers import ClassesAnswer
from automm_serve.bundle import load
from automm_serve.pipeline import with_threshold
from automm_serve.triton.client import Client
from automm_serve.triton.launch import TritonServer
from tests.automm_export.tiny import TinyGraph, exportable, rows
from tests.triton.conftest import OPTIONS

pytestmark = pytest.mark.triton

ANSWER = ClassesAnswer("kind", ("cat", "dog"))


@pytest.fixture(scope="module")
def served(parts, tmp_path_factory):
    """Torch's probabilities, a threshold that lies among them, a bundle, and its server."""
    made = exportable()
    program = msgspec.structs.replace(made.pipeline.programs["predict"], answer=ANSWER)
    pipeline = msgspec.structs.replace(
        made.pipeline,
        problem_type="binary",
        programs={**made.pipeline.programs, "predict": program},
    )
    graph = TinyGraph(pipeline.processors, ANSWER)
    made = made._replace(pipeline=pipeline, graphs={"predict": graph})
    folder = tmp_path_factory.mktemp("thresholds")
    export(made, folder / "half")
    with_it = load(folder / "half")
    positive = np.sort(with_it.predict_proba(rows(60), as_multiclass=False))
    # In the widest gap between two rows beyond one half: no noise of a device moves a row over it.
    middle = np.flatnonzero(np.diff(positive) == np.diff(positive)[5:-5].max())[0]
    threshold = float(positive[middle] + positive[middle + 1]) / 2
    export(made._replace(pipeline=with_threshold(pipeline, threshold)), folder / "other")
    with TritonServer(folder / "other", OPTIONS) as server:
        yield threshold, load(folder / "half"), load(folder / "other"), server


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_labels_flip_where_the_threshold_says_so(served, scheme):
    threshold, half, other, server = served
    table = rows(60)
    positive = half.predict_proba(table, as_multiclass=False)
    expected = np.where(positive >= np.float32(threshold), "dog", "cat")
    assert 0 < np.mean(expected != half.predict(table)) < 1
    np.testing.assert_array_equal(other.predict(table), expected)
    with Client(server.url(scheme)) as client:
        assert client.decision_threshold == other.decision_threshold == threshold
        np.testing.assert_array_equal(client.predict(table), expected)
        at_half = client.predict(table, decision_threshold=0.5)
        np.testing.assert_array_equal(at_half, half.predict(table))
        truth = {**table, "kind": expected.tolist()}
        assert client.evaluate(truth, ["accuracy", "f1"]) == {"accuracy": 1.0, "f1": 1.0}
        found = client.calibrate_decision_threshold(truth, "balanced_accuracy")
        assert found == pytest.approx(
            other.calibrate_decision_threshold(truth, "balanced_accuracy")
        )
