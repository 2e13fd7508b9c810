import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import torch

from automm.models.encoders import ENCODERS
from automm.models.fusion import FUSIONS
from automm.tasks import TASKS
from benchmarks import coverage
from benchmarks.coverage_rows import all_rows, uncovered

ROWS = {row.family: row for row in all_rows()}
NAMED = (
    "BERT, ELECTRA, RoBERTa, MPNet, DistilBERT, DeBERTa-v2, DeBERTa-v3, ModernBERT, T5 encoder, "
    "ViT, Swin, SwinV2, CaFormer, ConvNeXt, EVA-02, MobileNetV3, EfficientNet, ResNet, "
    "CLIP text tower, CLIP image tower, FT-Transformer, tabular MLP, fusion MLP, fusion transformer"
)


def test_every_entry_of_the_registries_has_a_row():
    assert uncovered(ROWS.values()) == []


@pytest.mark.parametrize("entry", sorted({*ENCODERS, *FUSIONS, *TASKS}))
def test_an_entry_without_a_row_is_found(entry):
    assert uncovered(row for row in ROWS.values() if entry not in row.entries) != []


def test_the_families_that_are_promised_are_there():
    assert [name for name in NAMED.split(", ") if name not in ROWS] == []
    whole = [row for row in ROWS.values() if row.family.startswith("whole")]
    assert len(whole) == 3
    assert {row.problem_type for row in whole} == set(TASKS)


@pytest.mark.parametrize("family", ["ViT", "whole: two texts + tabular, by transformer"])
def test_a_row_exports_and_matches(family, tmp_path):
    found = coverage.run(ROWS[family], tmp_path / "row", engines=False)
    assert found.reason is None
    assert found.exported
    assert found.max_abs_difference is not None
    assert found.max_abs_difference < 1e-4
    assert found.fp16_difference is not None
    assert 0 < found.fp16_difference < 0.1
    assert not found.rtx_fp32  # was not asked for


def test_a_row_builds_for_tensorrt_without_a_gpu(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    found = coverage.run(ROWS["tabular MLP"], tmp_path / "row")
    assert found.reason is None
    assert found.rtx_fp32
    assert found.rtx_fp16


def test_a_model_that_answers_alike_whatever_it_is_asked_is_a_failure(tmp_path, monkeypatch):
    def flatten(model, processors, rows):
        torch.nn.init.normal_(model.head.weight, std=1e-7)

    monkeypatch.setattr(coverage, "_spread_head", flatten)
    found = coverage.run(ROWS["tabular MLP"], tmp_path / "row", engines=False)
    assert not found.exported
    assert "do not vary" in (found.reason or "")


def test_a_row_cannot_claim_what_it_does_not_build(tmp_path):
    row = ROWS["tabular MLP"]._replace(columns=("weight", "age"))
    with pytest.raises(ValueError, match="claims"):
        coverage.build(row, tmp_path)
