"""A text backbone of Hugging Face: token ids -> the first token's state, or the mean of all."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from automm.config.schema import HfTextOptions
from automm.models.encoders.base import Encoder
from automm.models.encoders.checkpoints import find_local
from automm.models.encoders.huggingface import blocks_of, describe, fit_text, load, make_model
from automm_serve.processors.text import TextProcessor
from automm_serve.schema import Column
from automm_serve.tensors import Table

from transformers import (  # isort: skip  # after huggingface, which makes it importable
    AutoConfig,
    AutoModel,
    AutoModelForTextEncoding,
    PretrainedConfig,
    PreTrainedModel,
)

KINDS = ("text",)
OPTIONS = HfTextOptions

_MEAN_FAMILIES = ("sentence-transformers/", "minilm", "mpnet", "msmarco", "/e5-", "/gte-")


def fit(
    name: str, table: Table, columns: Sequence[Column], options: HfTextOptions
) -> TextProcessor:
    """Take the tokenizer, and the limit that the backbone sets, from the checkpoint."""
    config: PretrainedConfig = load(AutoConfig.from_pretrained, options.checkpoint_name)
    return fit_text(name, columns, options, config)


def build(processor: TextProcessor, options: HfTextOptions) -> HfText:
    """Build the encoder: pretrained, or the architecture alone."""
    name = options.checkpoint_name
    config: PretrainedConfig = load(AutoConfig.from_pretrained, name)
    config.pooling_mode = _pooling(options, config, processor)
    # A T5 has a class of its encoder alone; AutoModel would load the decoder with it.
    auto: Any = AutoModelForTextEncoding if config.is_encoder_decoder else AutoModel
    backbone = make_model(auto, config, name, pretrained=options.pretrained)
    return HfText(processor, backbone, config.pooling_mode)


class HfText(Encoder):
    """Backbone and pooling."""

    def __init__(self, processor: TextProcessor, backbone: PreTrainedModel, pooling: str) -> None:
        super().__init__()
        if getattr(backbone, "pooler", None) is not None:
            backbone.register_module("pooler", None)  # nothing here reads it
        self.prefix = processor.name
        self.pooling = pooling
        self.model = backbone
        self.out_dim = int(backbone.config.hidden_size)
        self.blocks = blocks_of(backbone, backbone.config.num_hidden_layers)
        self.backbone = describe(backbone.config)
        self._segments = "token_type_ids" in signature(backbone.forward).parameters

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Map ``{p}_ids`` and ``{p}_mask`` int32 (batch, length) to ``features`` and ``tokens``."""
        ids = tensors[f"{self.prefix}_ids"].long()
        mask = tensors[f"{self.prefix}_mask"].long()
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._segments:
            inputs["token_type_ids"] = torch.zeros_like(ids)
        tokens = self.model(**inputs).last_hidden_state
        if self.pooling == "cls":
            return {"features": tokens[:, 0], "tokens": tokens}
        weights = mask.to(tokens.dtype).unsqueeze(-1)
        total = (tokens * weights).sum(dim=1)
        return {"features": total / weights.sum(dim=1).clamp(min=1), "tokens": tokens}


def _pooling(options: HfTextOptions, config: PretrainedConfig, processor: TextProcessor) -> str:
    """What is asked for, else what the checkpoint was made for."""
    if options.pooling_mode != "auto":
        return options.pooling_mode
    stored = getattr(config, "pooling_mode", None)  # a saved predictor's
    if stored in ("cls", "mean"):
        return str(stored)
    local = find_local(options.checkpoint_name)
    pooling = local / "1_Pooling" / "config.json" if local else Path()
    if pooling.is_file():  # a model of sentence-transformers says it itself
        found = msgspec.json.decode(pooling.read_bytes())
        return "mean" if found.get("pooling_mode_mean_tokens") else "cls"
    name = options.checkpoint_name.lower()
    # Where nothing is put before a text, as with T5, the first token is but the first word.
    wants_mean = not processor.start or any(family in name for family in _MEAN_FAMILIES)
    return "mean" if wants_mean else "cls"
