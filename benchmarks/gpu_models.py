"""The models of ``benchmarks/gpu.py``: encoders and fusions of the presets, at their full size.

Text backbones are written down here as their configurations, since no hub is asked; timm knows its
own by name. Weights are random, which changes no time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from automm.config.overrides import override
from automm.config.presets import find_preset
from automm.config.schema import Config
from automm.data.processing import fit_processors
from automm.models.encoders.torchvision_stub import declare_missing_operators
from automm.tasks import find_task
from automm.tasks.base import GRAPH
from automm_export.graph import Graph
from automm_serve.pipeline import Pipeline
from automm_serve.schema import Column, Schema
from automm_serve.tensors import BATCH, Table, Tensors, TensorSpec
from tests.tiny_models import make_image_model, make_text_model, write_tokenizer

LENGTH = 128
"""Tokens of a text: a title and some sentences."""

_BASE = {"num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_BASE |= {"hidden_size": 768}
TEXTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "sentence-transformers/all-MiniLM-L6-v2": (
        "bert",
        {"num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
        | {"hidden_size": 384},
    ),
    "google/electra-small-discriminator": (
        "electra",
        {"num_hidden_layers": 12, "num_attention_heads": 4, "intermediate_size": 1024}
        | {"hidden_size": 256, "embedding_size": 128},
    ),
    "google/electra-base-discriminator": ("electra", _BASE | {"embedding_size": 768}),
    "microsoft/deberta-v3-base": (
        "deberta-v2",
        _BASE
        | {"vocab_size": 128100, "type_vocab_size": 0, "position_biased_input": False}
        | {"relative_attention": True, "position_buckets": 256, "share_att_key": True}
        | {"pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm"},
    ),
}
"""Checkpoint of a preset -> transformers' name of the architecture, and its configuration."""

PRESETS = ("edge", "medium_quality", "high_quality", "best_quality")
PARTS: Mapping[str, tuple[str, ...]] = {
    "text": ("hf_text",),
    "image": ("timm_image",),
    "tabular": ("ft_transformer",),
    "image + text + tabular": ("timm_image", "hf_text", "ft_transformer", "fusion_mlp"),
}
_COLUMNS = (
    Column("photo", "image"),
    Column("story", "text"),
    *(Column(f"number {i}", "number") for i in range(10)),
    *(Column(f"category {i}", "category") for i in range(5)),
)
_KINDS = {"hf_text": "text", "timm_image": "image", "ft_transformer": "number category"}


class Model(NamedTuple):
    """A model to measure: a preset, and what of a row it reads."""

    preset: str
    part: str

    @property
    def name(self) -> str:
        """What the table and the command line call it."""
        return f"{self.preset}: {self.part}"


def all_models() -> list[Model]:
    """Return every model; the tabular encoder is the same in the hub's presets."""
    return [
        Model(preset, part)
        for preset in PRESETS
        for part in PARTS
        if part != "tabular" or preset in ("edge", "best_quality")
    ]


def build(model: Model, folder: Path, *, tiny: bool) -> tuple[Pipeline, Graph]:
    """Build a model as training does, from configurations alone; the same weights every time.

    Args:
        model: Which.
        folder: To write configurations into.
        tiny: Take backbones of a few kilobytes instead, to try this script.
    """
    config = _config(model, folder, tiny=tiny)
    kinds = " ".join(_KINDS.get(name, "") for name in PARTS[model.part]).split()
    schema = Schema(tuple(column for column in _COLUMNS if column.kind in kinds))
    rows = _table()
    task = find_task("multiclass")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        answer = task.answer("label", rows)
        processors = fit_processors(schema, rows, config)
        built = task.model(processors, answer, config)
        built.head.reset_parameters()  # those of training are so small that all answers are alike
    graphs, programs = task.serve(built, processors, answer)
    return Pipeline("gpu", "multiclass", schema, processors, programs), graphs[GRAPH].eval()


def feed(graph: Graph, rows: int, *, length: int) -> Tensors:
    """Return random rows for a graph, every text of this length."""
    draw = np.random.default_rng(rows)
    return {spec.name: _random(draw, spec, rows, length) for spec in graph.inputs}


def _config(model: Model, folder: Path, *, tiny: bool) -> Config:
    preset = find_preset(model.preset)
    text, image = preset.model.hf_text.checkpoint_name, preset.model.timm_image.checkpoint_name
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, object] = {
        "model.names": list(PARTS[model.part]),
        "model.hf_text.pretrained": False,
        "model.hf_text.max_text_len": LENGTH,
        "model.timm_image.pretrained": False,
    }
    if tiny:
        settings["model.hf_text.checkpoint_name"] = str(make_text_model(folder / "text"))
        settings["model.timm_image.checkpoint_name"] = str(make_image_model(folder / "image"))
        settings["model.timm_image.image_size"] = 32
        settings["model.ft_transformer.num_blocks"] = 1
    else:
        settings["model.hf_text.checkpoint_name"] = str(_write_text(text, folder / "text"))
        settings["model.timm_image.checkpoint_name"] = image
    return override(preset, settings)


def _write_text(checkpoint: str, folder: Path) -> Path:
    """A configuration, and a small tokenizer: ids are drawn, not read."""
    declare_missing_operators()
    from transformers import AutoConfig

    kind, settings = TEXTS[checkpoint]
    write_tokenizer(folder, "wordpiece", limit=LENGTH)
    AutoConfig.for_model(kind, **settings).save_pretrained(folder)
    return folder


def _table() -> Table:
    """As many rows as the processors must see; nothing of it is measured."""
    rows = 40
    table: dict[str, list[object]] = {"photo": [None] * rows, "story": ["a red cat"] * rows}
    table["label"] = [str(row % 3) for row in range(rows)]
    for column in _COLUMNS[2:]:
        is_number = column.kind == "number"
        table[column.name] = [float(row) if is_number else str(row % 10) for row in range(rows)]
    return table


def _random(draw: np.random.Generator, spec: TensorSpec, rows: int, length: int) -> Any:
    shape = [
        size if isinstance(size, int) else rows if size == BATCH else min(length, size.sizes[-1])
        for size in spec.shape
    ]
    if spec.name.endswith(("_mask", "_valid")):
        return np.ones(shape, spec.dtype)
    if spec.dtype == "float32":
        return draw.normal(20, 10, shape).astype(np.float32)
    most = {"_ids": 50, "_categories": 10}.get(f"_{spec.name.rpartition('_')[2]}", 256)
    return draw.integers(0, most, shape).astype(spec.dtype)
