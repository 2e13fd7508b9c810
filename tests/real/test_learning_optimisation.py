"""Every optimiser, rate, schedule, soup and loss, on real rows: it learns, exports and serves.

One setting a line, over the same small model of numbers and categories; where rates go by layer,
over a tower too. What each formula is, ``tests/automm/training`` checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

from automm.predictor import MultiModalPredictor
from tests.real.learning import (
    TABLE,
    Served,
    check_everywhere,
    emoji_rows,
    fit,
    go_on,
    losses,
    towers,
)

pytestmark = [pytest.mark.real, pytest.mark.triton]

TRAIN, TEST = emoji_rows(TABLE)
PLAIN: Mapping[str, object] = {
    "model.names": ["numerical_mlp", "categorical_mlp", "fusion_mlp"],
    "model.numerical_mlp.dropout": 0.0,
    "model.categorical_mlp.dropout": 0.0,
    "model.fusion_mlp.dropout": 0.0,
    "optim.max_epochs": 4,
    "optim.lr": 3e-3,
}

SETTINGS: dict[str, Mapping[str, object]] = {
    "adam": {"optim.optim_type": "adam"},
    "sgd": {"optim.optim_type": "sgd", "optim.lr": 0.03},
    "adafactor": {"optim.optim_type": "adafactor", "optim.lr": 0.03},
    "two stages": {"optim.lr_choice": "two_stages", "optim.lr_mult": 5},
    "polynomial": {"optim.lr_schedule": "polynomial_decay"},
    "multi-step": {"optim.lr_schedule": "multi_step", "optim.lr_steps": [1, 2]},
    "constant": {"optim.lr_schedule": "constant"},
    "warm-up by steps": {"optim.warmup_steps": 8},
    "no warm-up, end of rate": {"optim.warmup_steps": 0, "optim.end_lr": 1e-3},
    "clipped by value": {
        "optim.gradient_clip_algorithm": "value",
        "optim.gradient_clip_val": 0.01,
    },
    "uniform soup": {"optim.top_k_average_method": "uniform_soup"},
    "best": {"optim.top_k_average_method": "best", "optim.top_k": 1},
    "focal loss": {"optim.loss_func": "focal_loss", "optim.focal_loss.gamma": 1.0},
    "class weights": {"optim.class_weights": "balanced"},
    "label smoothing": {"optim.label_smoothing": 0.2},
}
"""Name -> what differs from ``PLAIN``, whose values are AdamW, cosine, a greedy soup."""

SOUPS = {"uniform soup": 3, "best": 1}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served() as one:
        yield one


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> MultiModalPredictor:
    return fit(tmp_path_factory.mktemp("plain") / "p", TRAIN, PLAIN)


def test_the_default_way_learns(plain: MultiModalPredictor, served: Served, tmp_path: Path) -> None:
    assert losses(plain)[-1] < losses(plain)[0]
    assert plain.fit_summary()["beats_trivial"]
    check_everywhere(plain, TEST, served, tmp_path / "b")


@pytest.fixture(scope="module")
def answers(plain: MultiModalPredictor) -> dict[str, NDArray[np.float32]]:
    """What each setting came to, of those that were tried."""
    return {"plain": np.asarray(plain.predict_proba(TEST))}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_learns_otherwise_and_answers_alike_everywhere(
    name: str, answers: dict[str, NDArray[np.float32]], served: Served, tmp_path: Path
) -> None:
    predictor = fit(tmp_path / "p", TRAIN, PLAIN, SETTINGS[name])
    assert losses(predictor)[-1] < losses(predictor)[0]
    souped = predictor.fit_summary()["souped"]
    assert souped == SOUPS.get(name, souped)
    found = np.asarray(predictor.predict_proba(TEST))
    for other, theirs in answers.items():  # the control: something reads the setting
        differs = float(np.abs(found - theirs).max())
        # A greedy soup may come to the same as one of these, and not as both.
        may_be_alike = name in SOUPS and other == "plain"
        assert differs > 1e-5 or may_be_alike, f"it answers as {other}"
    answers[name] = found
    check_everywhere(predictor, TEST, served, tmp_path / "b")


def test_rates_of_a_tower_fall_by_layer_or_are_one(served: Served, tmp_path: Path) -> None:
    train, test = emoji_rows(("keywords",))
    tower = towers(tmp_path) | {"model.names": ["hf_text"], "optim.lr_decay": 0.3}
    layers = fit(tmp_path / "layers", train, tower)
    single = fit(tmp_path / "single", train, tower, {"optim.lr_choice": "single_stage"})
    begun = fit(tmp_path / "begun", train, tower, {"optim.lr": 1e-12})

    def moved(predictor: MultiModalPredictor, layer: int) -> float:
        """How far the weights of a layer went."""
        states = [one._fitted().trained.model.state_dict() for one in (predictor, begun)]
        names = [name for name in states[0] if f"layer.{layer}." in name]
        assert names
        return float(sum((states[0][name] - states[1][name]).abs().sum() for name in names))

    assert moved(layers, 0) < 0.7 * moved(layers, 1)
    assert moved(single, 0) > 0.7 * moved(single, 1)
    check_everywhere(single, test, served, tmp_path / "b")


def test_gradients_of_portions_add_up_to_those_of_the_batch(tmp_path: Path) -> None:
    whole, parts = (
        fit(tmp_path / str(size), TRAIN, PLAIN, {"env.per_gpu_batch_size": size})
        for size in (16, 4)
    )
    found = parts.predict_proba(TEST)
    np.testing.assert_allclose(found, whole.predict_proba(TEST), atol=1e-4)
    four = {"env.batch_size": 4, "env.per_gpu_batch_size": 4}  # the control
    smaller = fit(tmp_path / "smaller", TRAIN, PLAIN, four)
    assert np.abs(smaller.predict_proba(TEST) - found).max() > 1e-3


LONG: Mapping[str, object] = {"optim.max_epochs": 500}


def test_training_stops_where_it_is_told_to(tmp_path: Path) -> None:
    steps = fit(tmp_path / "steps", TRAIN, PLAIN, {"optim.max_steps": 11})
    assert steps.fit_summary()["history"][-1]["step"] == 11
    often = {"optim.val_check_interval": 0.5, "optim.max_epochs": 2}
    validated = fit(tmp_path / "often", TRAIN, PLAIN, often).fit_summary()["history"]
    assert [entry["epoch"] for entry in validated] == pytest.approx([0.5, 1, 1.5, 2], abs=0.1)
    rarely = {"optim.check_val_every_n_epoch": 2}
    validated = fit(tmp_path / "rarely", TRAIN, PLAIN, rarely).fit_summary()["history"]
    assert [entry["epoch"] for entry in validated] == [2, 4]
    worse = {"optim.optim_type": "sgd", "optim.lr": 1e-9, "optim.patience": 3}
    early = fit(tmp_path / "early", TRAIN, PLAIN, LONG, worse).fit_summary()
    assert (early["stopped"], len(early["history"])) == ("patience", 1 + 3)


def test_a_limit_of_time_holds_for_all_of_it_and_what_is_left_answers(
    served: Served, tmp_path: Path
) -> None:
    begun = monotonic()
    patient = {"optim.patience": 500, "optim.val_check_interval": 1.0}
    limited = fit(tmp_path / "p", TRAIN, PLAIN, LONG, patient, time_limit=5)
    assert monotonic() - begun < 8
    assert limited.fit_summary()["stopped"] == "time_limit"
    assert limited.fit_summary()["beats_trivial"]
    check_everywhere(limited, TEST, served, tmp_path / "b")


def test_what_is_loaded_goes_on_learning_on_other_rows(
    plain: MultiModalPredictor, served: Served, tmp_path: Path
) -> None:
    assert plain.path is not None
    loaded = MultiModalPredictor.load(plain.path, verbosity=0)
    go_on(loaded, emoji_rows(TABLE, first=5)[0], {"optim.lr": 1e-3}, save_path=tmp_path / "p")
    assert losses(loaded)[0] < losses(plain)[0], "it began at nothing"
    check_everywhere(loaded, TEST, served, tmp_path / "b")
