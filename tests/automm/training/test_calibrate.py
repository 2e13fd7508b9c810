"""The temperature: it finds a scale that is known, moves no answer, and never costs log-loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from automm.models.fused import FusedGraph
from automm.predictor import MultiModalPredictor
from automm.training.calibrate import (
    COOLEST,
    FEWEST,
    HOTTEST,
    calibration_error,
    fit_temperature,
    log_loss,
    rescale,
)
from tests.automm.training.running import TYPES, settings, table

# They learn next to nothing in their seconds.
pytestmark = pytest.mark.filterwarnings("ignore::automm.training.outcome.FitWarning")


def drawn(rows: int, classes: int, temperature: float, seed: int = 0) -> tuple[Any, Any]:
    """Probabilities of logits that are so many times too large, and classes of the right ones."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (rows, classes))
    right = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    codes = np.array([random.choice(classes, p=row) for row in right])
    return rescale(right.astype(np.float32), 1 / temperature), codes


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7, 4.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_it_finds_the_scale_of_the_logits(temperature, classes):
    probabilities, codes = drawn(4000, classes, temperature)
    found = fit_temperature(probabilities, codes)
    assert found == pytest.approx(temperature, rel=0.1)
    cooled = rescale(probabilities, found)
    assert log_loss(cooled, codes) <= log_loss(probabilities, codes)
    assert calibration_error(cooled, codes) < 0.03
    assert found == float(np.float32(found))


@given(st.integers(0, 10_000), st.integers(2, 4), st.floats(0.02, 30), st.integers(1, 120))
def test_no_answer_moves_and_the_log_loss_does_not_rise(seed, classes, scale, rows):
    probabilities, codes = drawn(rows, classes, scale, seed)
    found = fit_temperature(probabilities, codes)
    assert COOLEST <= found <= HOTTEST
    assert rows >= FEWEST or found == 1
    cooled = rescale(probabilities, found)
    assert np.isfinite(cooled).all()
    np.testing.assert_allclose(cooled.sum(1), 1, atol=1e-5)
    assert log_loss(cooled, codes) <= log_loss(probabilities, codes)
    best = np.take_along_axis(cooled, probabilities.argmax(1)[:, None], 1)[:, 0]
    np.testing.assert_allclose(best, cooled.max(1), rtol=1e-6)  # but for ties of float32


def test_answers_that_are_all_right_speak_for_no_temperature():
    codes = np.arange(200) % 2
    sure = np.where(np.eye(2)[codes] == 1, 0.8, 0.2).astype(np.float32)
    assert fit_temperature(sure, codes) == 1
    certain = np.eye(2, dtype=np.float32)[codes]  # logits that softmax has rounded to 0 and 1
    assert fit_temperature(certain, codes) == 1


def test_certain_answers_that_are_often_wrong_are_made_as_unsure_as_it_goes():
    codes = np.zeros(200, np.int64)
    wild = np.eye(2, dtype=np.float32)[np.arange(200) % 2]
    assert fit_temperature(wild, codes) == HOTTEST


def test_a_constant_answer_keeps_its_class_and_gets_the_share_that_is_right():
    codes = (np.arange(400) % 10 > 5).astype(np.int64)  # 40 %
    constant = np.tile(np.array([0.9, 0.1], np.float32), (400, 1))
    found = fit_temperature(constant, codes)
    np.testing.assert_allclose(rescale(constant, found)[0], [0.6, 0.4], atol=1e-4)
    even = np.full((400, 2), 0.5, np.float32)
    assert fit_temperature(even, codes) == 1


def test_the_calibration_error_is_the_gap_of_confidence_and_accuracy():
    probabilities = np.tile(np.array([0.9, 0.1], np.float32), (10, 1))
    assert calibration_error(probabilities, np.array([0] * 9 + [1])) == pytest.approx(0, abs=1e-6)
    assert calibration_error(probabilities, np.array([0] * 5 + [1] * 5)) == pytest.approx(0.4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Of three classes, and so many epochs that it is too sure of itself."""
    folder = tmp_path_factory.mktemp("calibrate")
    predictor = MultiModalPredictor(label="kind", path=folder / "predictor", verbosity=0)
    return predictor.fit(
        table(90),
        tuning_data=noisy(120, seed=5),
        hyperparameters=settings(folder),
        column_types=TYPES,
    )


def noisy(rows: int, seed: int) -> dict[str, list[object]]:
    """Rows a quarter of which has another class than their columns say."""
    found = table(rows, seed)
    kinds = sorted({str(kind) for kind in found["kind"]})
    found["kind"] = [
        kinds[row % 3] if row % 4 == 0 else kind for row, kind in enumerate(found["kind"])
    ]
    return found


def test_the_summary_tells_what_it_gained_and_the_graph_divides_by_it(trained):
    told = trained.fit_summary()["temperature"]
    assert told["value"] != 1
    assert told["rows"] == 120
    assert told["log_loss_after"] < told["log_loss_before"]
    graph: Any = trained.exportable().graphs["predict"]
    assert float(graph.model.temperature) == told["value"]
    rows = noisy(120, seed=5)
    assert trained.evaluate(rows, "log_loss")["log_loss"] == pytest.approx(told["log_loss_after"])
    cooled, labels = trained.predict_proba(rows), trained.predict(rows)
    graph.model.temperature.fill_(1)
    warm = trained.predict_proba(rows)
    graph.model.temperature.fill_(told["value"])
    np.testing.assert_allclose(rescale(warm, told["value"]), cooled, atol=1e-6)
    np.testing.assert_array_equal(np.array(trained.class_labels)[warm.argmax(1)], labels)


@pytest.mark.parametrize("by_argument", [True, False])
def test_it_is_left_out_where_it_is_not_wanted(tmp_path, by_argument):
    given = settings(tmp_path, optim__max_epochs=1, optim__calibrate=by_argument)
    predictor = MultiModalPredictor(label="kind", path=tmp_path / "p", verbosity=0).fit(
        table(60),
        tuning_data=noisy(120, seed=5),
        hyperparameters=given,
        column_types=TYPES,
        calibrate=False if by_argument else "auto",
    )
    assert predictor.fit_summary()["temperature"] is None
    graph: Any = predictor.exportable().graphs["predict"]
    assert float(graph.model.temperature) == 1


def test_a_fit_that_goes_on_begins_at_one(trained, tmp_path, monkeypatch):
    seen = []
    forward = FusedGraph.forward

    def watched(self: FusedGraph, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        assert self.model.temperature is not None
        seen.append(float(self.model.temperature))
        return forward(self, tensors)

    again = MultiModalPredictor.load(trained.path)
    before = float(again.exportable().graphs["predict"].model.temperature)  # type: ignore[union-attr, arg-type]  # a buffer
    monkeypatch.setattr(FusedGraph, "forward", watched)
    again.fit(table(60), tuning_data=noisy(120, 6), save_path=tmp_path / "more",
              hyperparameters={"optim.max_epochs": 1})  # fmt: skip
    after = again.fit_summary()["temperature"]["value"]
    assert before != 1
    assert set(seen) <= {1.0, after}
    assert seen[0] == 1


def test_regression_has_none(tmp_path):
    rows = table(60)
    rows["price"] = [float(row % 7) for row in range(60)]
    predictor = MultiModalPredictor(label="price", path=tmp_path / "p", verbosity=0).fit(
        rows, hyperparameters=settings(tmp_path, optim__max_epochs=1), column_types=TYPES
    )
    assert predictor.fit_summary()["temperature"] is None
    assert predictor.decision_threshold is None
