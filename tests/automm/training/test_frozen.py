"""Frozen blocks that are asked once: the same features and the same training, with less work."""

import warnings
from time import monotonic

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from automm.config.overrides import override
from automm.config.schema import Config
from automm.data.rows import prepare_rows
from automm.models.encoders import find_encoder, options_of
from automm.models.fused import build_fused
from automm.predictor import MultiModalPredictor
from automm.training import frozen
from automm.training.augment import Augmentation, read_augmentation
from automm.training.frozen import asked_once
from automm_serve.answers import ClassesAnswer
from automm_serve.schema import Column
from tests.pets import picture
from tests.tiny_models import IMAGE_FAMILIES, TEXT_FAMILIES, make_image_model, make_text_model

ANSWER = ClassesAnswer("y", ("a", "b"))
ROWS = 12
TABLE: dict[str, list[object]] = {
    "t": ["a red cat", "", None, "a big old house by the sea", *["blue dog"] * 8],
    "p": [picture((20 * i, 10, 10)) if i % 5 else None for i in range(ROWS)],
    "y": ["a", "b"] * 6,
}


def build(folder, name, family, **changes):
    """A model of one encoder whose first blocks are frozen, and its rows."""
    make = make_text_model if name == "hf_text" else make_image_model
    column = Column("t", "text") if name == "hf_text" else Column("p", "image")
    config = override(
        Config(),
        {
            f"model.{name}.checkpoint_name": str(make(folder / family, family)),
            f"model.{name}.frozen_blocks": 2,
            "model.hf_text.text_trivial_aug_maxscale": 0.0,
            "model.timm_image.train_transforms": ["resize_shorter_side", "center_crop"],
            **changes,
        },
    )
    processor = find_encoder(name).fit(name, TABLE, [column], options_of(config, name))
    model = build_fused([processor], ANSWER, config)
    rows = [prepare_rows("rows", TABLE, [processor], ANSWER, 1 << 30)[0] for _ in range(2)]
    return model, *rows, read_augmentation(config, [processor], ANSWER)


def ask(model, train, valid, augmentation=None, **more):
    cpu = torch.device("cpu")
    augmentation = augmentation or Augmentation()
    return asked_once(model, train, valid, augmentation, device=cpu, most_bytes=1 << 30, **more)


def kept(rows):
    return [name for name in rows.batch([0]).tensors if name.endswith("_frozen")]


@pytest.mark.parametrize(
    ("name", "family"),
    [*(("hf_text", f) for f in TEXT_FAMILIES), *(("timm_image", f) for f in IMAGE_FAMILIES)],
)
def test_every_family_has_the_same_features_and_gradients(tmp_path, name, family):
    model, train, valid, augmentation = build(tmp_path, name, family)
    model.eval()
    with ask(model, train, valid, augmentation):
        for chosen in ([3, 0, 2], [1], list(range(ROWS))):
            found = []
            for row_tensors in (train.batch(chosen).tensors, without(train, chosen)):
                model.zero_grad()
                answer = model(row_tensors)
                answer["features"].square().sum().backward()
                gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
                found.append([answer["features"].detach(), *gradients])
            assert len(found[0]) == len(found[1])
            for one, other in zip(*found, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def without(rows, chosen):
    tensors = rows.batch(chosen).tensors
    return {name: t for name, t in tensors.items() if not name.endswith("_frozen")}


@pytest.mark.parametrize(("name", "family"), [("hf_text", "BERT"), ("timm_image", "EfficientNet")])
def test_the_frozen_blocks_are_not_run_again(tmp_path, monkeypatch, name, family):
    model, train, valid, augmentation = build(tmp_path, name, family)
    calls = []
    with ask(model, train, valid, augmentation):
        assert kept(train) == kept(valid) == [f"{name}_frozen"]
        inner = [m for m in model.encoders[name].blocks[1].modules() if not list(m.children())]
        for module in inner:
            module.register_forward_hook(lambda *call: calls.append(call))
        model(train.batch([0, 1]).tensors)
        model(valid.batch([0, 1]).tensors)
    assert calls == []
    assert kept(train) == kept(valid) == [], "and nothing of it stays in memory"
    model(train.batch([0, 1]).tensors)
    assert calls, "afterwards the model works as ever"
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize(
    "changes",
    [
        {"model.hf_text.text_trivial_aug_maxscale": 0.2},
        {"data.modality_dropout": 0.2},
    ],
)
def test_rows_that_are_changed_at_random_are_asked_anew_and_others_once(tmp_path, changes):
    model, train, valid, augmentation = build(tmp_path, "hf_text", "BERT", **changes)
    with ask(model, train, valid, augmentation):
        assert kept(train) == []
        assert kept(valid) == ["hf_text_frozen"]


def test_what_trains_or_counts_is_never_kept(tmp_path):
    model, train, valid, _ = build(
        tmp_path, "hf_text", "BERT", **{"model.hf_text.frozen_blocks": 0}
    )
    with ask(model, train, valid):
        assert kept(train) == []
    model, train, valid, _ = build(
        tmp_path, "timm_image", "EfficientNet", **{"model.timm_image.frozen_blocks": 2}
    )
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    norms[0].train()  # its statistics would move
    with ask(model, train, valid):
        assert kept(train) == []


def test_what_lies_before_a_weight_that_trains_is_never_kept(tmp_path):
    model, train, valid, _ = build(tmp_path, "hf_text", "BERT")
    encoder = model.encoders["hf_text"]
    encoder.scale = torch.nn.Parameter(torch.ones(()))  # of no block, as a stranger may have it
    encoder.blocks[1].register_forward_pre_hook(
        lambda module, given: (given[0] * encoder.scale, *given[1:])
    )
    with ask(model, train, valid):
        assert kept(train) == kept(valid) == []


def test_where_memory_runs_out_it_works_as_ever(tmp_path):
    model, train, valid, _ = build(tmp_path, "hf_text", "BERT")

    def run_out(module, given):
        raise torch.OutOfMemoryError("out of memory")

    handle = model.encoders["hf_text"].blocks[1].register_forward_pre_hook(run_out)
    with ask(model, train, valid):
        assert kept(train) == kept(valid) == []
        handle.remove()
        model(train.batch([0]).tensors)


def test_blocks_that_do_more_than_hand_on_a_tensor_are_left_alone(tmp_path):
    model, train, valid, _ = build(
        tmp_path, "hf_text", "BERT", **{"model.hf_text.frozen_blocks": 2}
    )
    encoder, seen = model.encoders["hf_text"], [0.0]
    encoder.model.embeddings.register_forward_hook(lambda *call: seen.__setitem__(0, 0.0))
    encoder.blocks[1].attention.register_forward_hook(lambda *call: seen.__setitem__(0, 1.0))
    encoder.blocks[2].register_forward_pre_hook(
        lambda module, given: (given[0].roll(int(seen[0]), dims=-1), *given[1:])
    )
    with ask(model, train, valid):
        assert kept(train) == kept(valid) == []


def test_too_little_memory_or_time_leaves_everything_as_ever(tmp_path, monkeypatch):
    model, train, valid, augmentation = build(tmp_path, "hf_text", "BERT")
    cpu = torch.device("cpu")
    with asked_once(model, train, valid, augmentation, device=cpu, most_bytes=100):
        assert kept(train) == []
    monkeypatch.setattr(frozen, "SHARE_OF_TIME", 0.0)
    with ask(model, train, valid, augmentation, deadline=monotonic() + 60):
        assert kept(train) == []


def test_a_fit_comes_to_the_same_end(tmp_path, monkeypatch):
    table = {**TABLE, "t": [text or "nothing" for text in TABLE["t"]]}
    table = {name: cells * 4 for name, cells in table.items()}
    settings = {
        "model.names": ["hf_text", "timm_image", "fusion_mlp"],
        "model.hf_text.checkpoint_name": str(make_text_model(tmp_path / "t", "BERT")),
        "model.timm_image.checkpoint_name": str(make_image_model(tmp_path / "i", "EfficientNet")),
        "model.hf_text.frozen_blocks": 2,
        "model.timm_image.frozen_blocks": 2,
        "optim.max_epochs": 2,
    }

    def fit(place):
        predictor = MultiModalPredictor(label="y", path=tmp_path / place, verbosity=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predictor.fit(table, hyperparameters=settings, column_types={"t": "text"}, seed=1)
        return predictor.predict_proba(table, as_pandas=False)

    short = fit("short")
    monkeypatch.setattr(frozen, "_last_frozen", lambda encoder: None)
    np.testing.assert_allclose(fit("long"), short, atol=2e-5)
