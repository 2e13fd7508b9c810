"""The rows of ``make coverage``: each family of encoder, each fusion, and whole fused models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from automm.models.encoders import ENCODERS
from automm.models.fusion import FUSIONS
from automm.tasks import TASKS
from automm_serve.schema import Column, Kind
from automm_serve.tensors import Table
from tests.pets import pets
from tests.tiny_models import (
    IMAGE_FAMILIES,
    TEXT_FAMILIES,
    make_clip_model,
    make_image_model,
    make_text_model,
)

KINDS: Mapping[str, Kind] = {
    "photo": "image",
    "side": "image",
    "title": "text",
    "story": "text",
    "weight": "number",
    "age": "number",
    "city": "category",
}
LABELS = {"binary": "is_cat", "multiclass": "kind", "regression": "price"}
PICTURES, TEXTS = ("photo", "side"), ("title", "story")
NUMBERS, TABLE = ("weight", "age"), ("weight", "age", "city")

SMALL: Mapping[str, object] = {
    "model.hf_text.max_text_len": 32,
    "model.clip_text.max_text_len": 32,
    "model.ft_transformer.token_dim": 16,
    "model.ft_transformer.num_blocks": 2,
    "model.ft_transformer.attention_num_heads": 2,
    "model.ft_transformer.ffn_hidden_size": 16,
    "model.fusion_transformer.num_blocks": 2,
    "model.fusion_transformer.attention_num_heads": 2,
    "model.fusion_transformer.ffn_hidden_size": 16,
}
"""Settings of every row: nothing about a graph's kind, only less of it."""


class Row(NamedTuple):
    """A model to cover.

    Attributes:
        family: What the table calls it.
        names: ``model.names``: encoders, and a fusion.
        columns: That it reads.
        problem_type: That it answers.
        checkpoints: Encoder -> what writes its checkpoint into a folder.
    """

    family: str
    names: tuple[str, ...]
    columns: tuple[str, ...]
    problem_type: str
    checkpoints: Mapping[str, Callable[[Path], Path]] = {}

    @property
    def entries(self) -> frozenset[str]:
        """The entries of the product's registries that it stands for."""
        return frozenset((*self.names, self.problem_type))

    @property
    def schema(self) -> tuple[Column, ...]:
        """Its columns with their kinds."""
        return tuple(Column(name, KINDS[name]) for name in self.columns)


def all_rows() -> list[Row]:
    """Return every row; the three problem types take turns."""
    types = list(LABELS)
    singles = [
        *((family, "hf_text", TEXTS, _text(family)) for family in TEXT_FAMILIES),
        *((family, "timm_image", PICTURES, _image(family)) for family in IMAGE_FAMILIES),
        ("CLIP text tower", "clip_text", TEXTS, _clip),
        ("CLIP image tower", "clip_image", PICTURES, _clip),
        ("FT-Transformer", "ft_transformer", TABLE, None),
    ]
    rows = [
        Row(family, (name,), columns, types[i % 3], {name: maker} if maker else {})
        for i, (family, name, columns, maker) in enumerate(singles)
    ]
    electra, swin = {"hf_text": _text("ELECTRA")}, {"timm_image": _image("Swin")}
    mobile, deberta = {"timm_image": _image("MobileNetV3")}, {"hf_text": _text("DeBERTa-v3")}
    mlps = ("numerical_mlp", "categorical_mlp")
    both = {"clip_text": _clip, "clip_image": _clip}
    return [
        *rows,
        Row("tabular MLP", (*mlps, "fusion_mlp"), TABLE, "binary"),
        Row("CLIP, both towers", (*both, "fusion_mlp"), PICTURES + TEXTS, "multiclass", both),
        Row(
            "fusion MLP",
            ("hf_text", "numerical_mlp", "fusion_mlp"),
            TEXTS[:1] + NUMBERS,
            "regression",
            electra,
        ),
        Row(
            "fusion transformer",
            ("timm_image", "numerical_mlp", "fusion_transformer"),
            PICTURES[:1] + NUMBERS,
            "binary",
            mobile,
        ),
        Row(
            "whole: image + text + tabular, by MLP",
            ("timm_image", "hf_text", "ft_transformer", "fusion_mlp"),
            tuple(KINDS),
            "multiclass",
            electra | swin,
        ),
        Row(
            "whole: two texts + tabular, by transformer",
            ("hf_text", "ft_transformer", "fusion_transformer"),
            TEXTS + TABLE,
            "regression",
            deberta,
        ),
        Row(
            "whole: image + tabular, by MLP",
            ("timm_image", "ft_transformer", "fusion_mlp"),
            PICTURES + TABLE,
            "binary",
            mobile,
        ),
    ]


def uncovered(rows: Iterable[Row]) -> list[str]:
    """Return the entries of the product's registries for which there is no row."""
    covered = {entry for row in rows for entry in row.entries}
    return sorted({*ENCODERS, *FUSIONS, *TASKS} - covered)


def table() -> Table:
    """Return rows of every kind of column, with gaps, and a label for each problem type."""
    found = pets(48)
    prices = [float(str(price)) / 1000 for price in found["price"]]
    is_cat = ["yes" if kind == "cat" else "no" for kind in found["kind"]]
    return {**found, "price": prices, "is_cat": is_cat}


def _text(family: str) -> Callable[[Path], Path]:
    return partial(make_text_model, family=family, spread=True)


def _image(family: str) -> Callable[[Path], Path]:
    return partial(make_image_model, family=family, spread=True)


def _clip(folder: Path) -> Path:
    return make_clip_model(folder, spread=True)
