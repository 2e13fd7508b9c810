"""Settings that change processors or the graph: trained, saved, loaded, exported, all the same."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from automm.predictor import MultiModalPredictor
from automm.training.fit import FitWarning
from automm_serve.bundle import load
from automm_serve.predicts import Predicts
from automm_serve.tensors import Table
from tests.pets import pets
from tests.tiny_models import make_image_model, make_text_model

TYPES = {"title": "text", "story": "text", "city": "categorical"}
COLUMNS = ("photo", "title", "story", "weight", "age", "city")
CLASSES: dict[str, Any] = {
    "model.names": ["hf_text_a", "hf_text_b", "timm_image", "ft_transformer", "fusion_mlp"],
    "model.hf_text_a.max_text_len": 16,
    "model.timm_image.train_transforms": ["trivial_augment"],
    "model.hf_text.text_aug_detect_length": 3,
    "model.fusion_mlp.aux_loss_weight": 0.1,
    "optim.cross_modal_align": "positive_only",
    "optim.cross_modal_align_weight": 0.1,
    "data.image.missing_value_strategy": "skip",
    "data.categorical.convert_to_text": True,
    "data.numerical.scaler_with_mean": False,
    "data.modality_dropout": 0.2,
    "data.mixup.turn_on": True,
}
NUMBERS: dict[str, Any] = {
    "data.label.numerical_preprocessing": "minmaxscaler",
    "data.numerical.convert_to_text": True,
    "data.categorical.minimum_cat_count": 1,
}


@pytest.mark.parametrize(
    ("label", "settings"), [("kind", CLASSES), ("price", NUMBERS)], ids=["classes", "numbers"]
)
def test_what_was_trained_is_what_is_loaded_and_served(
    label: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    trained = _train(label, settings, tmp_path)
    trained.export(tmp_path / "bundle")
    bundle = load(tmp_path / "bundle")
    again = MultiModalPredictor.load(tmp_path / "predictor", verbosity=0)
    table = pets(24, seed=1)
    rows = {name: table[name] for name in COLUMNS}
    for name in COLUMNS:
        rows[name][0] = None  # a row of nothing
    rows["photo"][1] = None  # a row without a whole kind of input
    expected = _numbers(trained, rows)
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(_numbers(again, rows), expected)
    np.testing.assert_allclose(_numbers(bundle, rows), expected, atol=1e-5 * np.ptp(expected))

    # The control: each column has a say in both, though it may be read as another kind.
    for name in COLUMNS:
        changed = {**rows, name: [*rows[name][3:], *rows[name][:3]]}
        others = _numbers(trained, changed)
        assert (others != expected).any(), name
        np.testing.assert_allclose(_numbers(bundle, changed), others, atol=1e-5 * np.ptp(others))


def _train(label: str, settings: dict[str, Any], folder: Path) -> MultiModalPredictor:
    table = pets(60)
    models = {
        "model.hf_text.checkpoint_name": str(make_text_model(folder / "text")),
        "model.timm_image.checkpoint_name": str(make_image_model(folder / "image")),
        "model.timm_image.image_size": 32,
        "model.hf_text.frozen_blocks": 0,
        "optim.max_epochs": 1,
        "optim.lr": 1e-3,
    }
    predictor = MultiModalPredictor(
        label=label, path=folder / "predictor", hyperparameters=models, verbosity=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)  # one epoch need not beat the trivial one
        train = {name: table[name] for name in (*COLUMNS, label)}
        predictor.fit(train, column_types=TYPES, hyperparameters=settings)
    rows = predictor.fit_summary()["rows"]
    lacking = sum(cell is None for cell in table["photo"])
    skips = settings.get("data.image.missing_value_strategy") == "skip"
    assert 0 < rows["without_picture"] <= lacking if skips else not rows["without_picture"]
    assert rows["train"] + rows["valid"] + rows["without_picture"] == 60
    return predictor


def _numbers(predictor: Predicts, rows: Table) -> Any:
    """Everything that a graph gives, in float64."""
    features = predictor.extract_embedding(rows)
    if predictor.class_labels:
        return np.concatenate([features, predictor.predict_proba(rows, as_pandas=False)], axis=1)
    values = np.asarray(predictor.predict(rows, as_pandas=False), np.float64)
    return np.concatenate([features, values[:, None]], axis=1)
