"""Each way of training few weights, on real pictures and texts: what moves, and what is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file

from automm.predictor import MultiModalPredictor
from automm.training.peft import METHODS
from tests.real.learning import Served, check_everywhere, emoji_rows, fit, losses, towers

pytest.importorskip("peft")  # behind what makes transformers importable

pytestmark = [pytest.mark.real, pytest.mark.triton]

RANK, WIDTH, LAYERS = 4, 32, 2
"""Of the adapters, of the tiny ViT, of its ``qkv`` layers, each three times as wide behind."""

GIVEN = {
    "optim.lora.r": RANK,
    "optim.lr": 3e-3,
    "optim.max_epochs": 3,
    "optim.top_k_average_method": "uniform_soup",
}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served() as one:
        yield one


def moved_weights(predictor: MultiModalPredictor, encoder: str, checkpoint: Path) -> set[str]:
    """Return the weights of a saved backbone that are not the checkpoint's, by its own names."""
    assert predictor.path is not None
    saved = load_file(predictor.path / "model.safetensors")
    assert not [name for name in saved if "lora" in name or "ia3" in name or "base_layer" in name]
    begun = load_file(checkpoint / "model.safetensors")
    stem = f"encoders.{encoder}.model."
    names = {name.removeprefix(stem) for name in saved if name.startswith(stem)} & set(begun)
    assert len(names) >= 20, "the names are others"
    return {name for name in names if not torch.equal(saved[stem + name], begun[name])}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_picture_tower_trains_what_is_named_and_nothing_else(
    name: str, served: Served, tmp_path: Path
) -> None:
    train, test = emoji_rows(("image",))
    tower = towers(tmp_path, image="ViT") | {"model.names": ["timm_image"]}
    predictor = fit(tmp_path / "p", train, tower, GIVEN, {"optim.peft": name})
    assert losses(predictor)[-1] < losses(predictor)[0]
    assert predictor.fit_summary()["souped"] == 3

    method, begun = METHODS[name], load_file(tmp_path / "ViT" / "model.safetensors")
    begun = {key: tensor for key, tensor in begun.items() if not key.startswith("head")}
    adapted = {f"blocks.{layer}.attn.qkv.weight" for layer in range(LAYERS)}
    biases = {key for key in begun if key.endswith("bias")}
    norms = {key for key in begun if "norm" in key and key.endswith("weight")}
    # A scale of what a layer gives is one of its bias too.
    scaled = {key.replace("weight", "bias") for key in adapted} if method.ia3 else set()
    wanted = (adapted if method.lora or method.ia3 else set()) | scaled
    wanted |= biases if method.biases else set()
    wanted |= norms if method.norms else set()
    assert moved_weights(predictor, "timm_image", tmp_path / "ViT") == wanted

    count = sum(p.numel() for p in predictor._fitted().trained.model.head.parameters())
    count += LAYERS * RANK * (WIDTH + 3 * WIDTH) if method.lora else 0
    count += LAYERS * 3 * WIDTH if method.ia3 else 0
    count += sum(begun[key].numel() for key in biases) if method.biases else 0
    count += sum(begun[key].numel() for key in norms) if method.norms else 0
    assert predictor.trainable_parameters == count < predictor.total_parameters / 3
    check_everywhere(predictor, test, served, tmp_path / "b")


@pytest.mark.parametrize(
    ("name", "family", "layers"),
    [("ia3_lora", "BERT", {"query", "value"}), ("lora", "T5 encoder", {"q", "k", "v", "o"})],
)
def test_a_text_tower_beside_a_table(
    name: str, family: str, layers: set[str], served: Served, tmp_path: Path
) -> None:
    columns = ("keywords", "unicode_version", "n_code_points")
    train, test = emoji_rows(columns)
    tower = towers(tmp_path, family) | {"model.names": ["hf_text", "numerical_mlp", "fusion_mlp"]}
    predictor = fit(tmp_path / "p", train, tower, GIVEN, {"optim.peft": name})
    moved = moved_weights(predictor, "hf_text", tmp_path / family.replace(" ", "_"))
    assert {path.split(".")[-2] for path in moved} == layers
    check_everywhere(predictor, test, served, tmp_path / "b")
