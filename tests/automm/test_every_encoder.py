"""The encoders that no preset names: trained, saved, read back and exported like any other."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from automm.predictor import MultiModalPredictor
from automm.training.fit import FitWarning
from automm_serve.bundle import load
from tests.pets import pets
from tests.tiny_models import make_clip_model

TYPES = {"title": "text", "city": "categorical", "weight": "numerical", "photo": "image_bytearray"}


def test_clip_and_the_mlps_fused_by_a_transformer_answer_everywhere_alike(tmp_path: Path):
    table = pets(60)
    table = {name: table[name] for name in (*TYPES, "price")}
    settings = {
        "model.names": ["clip", "numerical_mlp", "categorical_mlp", "fusion_transformer"],
        "model.clip.checkpoint_name": str(make_clip_model(tmp_path / "clip", spread=True)),
        "model.clip.image_size": 48,
        "model.fusion_transformer.num_blocks": 1,
        "model.fusion_transformer.aux_loss_weight": 0.1,
        "optim.max_epochs": 1,
    }
    predictor = MultiModalPredictor(
        label="price", path=tmp_path / "predictor", hyperparameters=settings, verbosity=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)  # one epoch need not beat the trivial one
        predictor.fit(table, column_types=TYPES)
    expected = predictor.predict(table, as_pandas=False)
    assert np.ptp(expected) > 0
    again = MultiModalPredictor.load(tmp_path / "predictor")
    np.testing.assert_array_equal(again.predict(table, as_pandas=False), expected)
    again.export(tmp_path / "bundle")
    found = load(tmp_path / "bundle").predict(table, as_pandas=False)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * float(np.std(expected)))
