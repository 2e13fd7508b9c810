"""A text backbone of Hugging Face: token ids -> the first token's state, or the mean of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from automm.config.schema import HfTextOptions
from automm.models.encoders.base import Encoder
from automm.models.encoders.checkpoints import find_local, from_hub
from automm.models.encoders.torchvision_stub import declare_missing_operators
from automm_serve.errors import ConfigError
from automm_serve.processors.text import TextProcessor
from automm_serve.schema import Column
from automm_serve.tensors import Table

declare_missing_operators()  # without them transformers cannot import its own models

from transformers import (  # noqa: E402
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging  # noqa: E402

KINDS = ("text",)
OPTIONS = HfTextOptions

_UNBOUNDED = 1_000_000  # tokenizers without a limit of their own say 1e30
_OFFSET_FAMILIES = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"})
_MEAN_FAMILIES = ("sentence-transformers/", "minilm", "mpnet", "msmarco", "/e5-", "/gte-")


def fit(
    name: str, table: Table, columns: Sequence[Column], options: HfTextOptions
) -> TextProcessor:
    """Take the tokenizer, and the limit that the backbone sets, from the checkpoint."""
    tokenizer: Any = _load(AutoTokenizer.from_pretrained, options.checkpoint_name)
    if not tokenizer.is_fast:
        raise ConfigError(
            where=f"checkpoint {options.checkpoint_name!r}",
            what="its tokenizer cannot be written as a tokenizer.json",
            mend="Choose a checkpoint with a fast tokenizer",
        )
    config: PretrainedConfig = _load(AutoConfig.from_pretrained, options.checkpoint_name)
    return TextProcessor.fit(
        name,
        [column.name for column in columns],
        tokenizer.backend_tokenizer.to_str(),
        _limit(options.max_text_len, tokenizer.model_max_length, config),
        insert_sep=options.insert_sep,
    )


def build(processor: TextProcessor, options: HfTextOptions) -> HfText:
    """Build the encoder: pretrained, or the architecture alone."""
    name = options.checkpoint_name
    config: PretrainedConfig = _load(AutoConfig.from_pretrained, name)
    config.pooling_mode = _pooling(options, config)
    # Eager attention makes the smaller ONNX graph; there is nothing to gain from others here.
    if options.pretrained:
        load = partial(AutoModel.from_pretrained, config=config, attn_implementation="eager")
        with _without_bar():
            backbone = _load(load, name)
    else:
        build_bare: Any = AutoModel.from_config  # untyped in transformers
        backbone = build_bare(config, attn_implementation="eager")
    return HfText(processor.name, backbone.float(), config.pooling_mode)


class HfText(Encoder):
    """Backbone and pooling."""

    def __init__(self, prefix: str, backbone: PreTrainedModel, pooling: str) -> None:
        super().__init__()
        if getattr(backbone, "pooler", None) is not None:
            backbone.register_module(
                "pooler", None
            )  # a head over the first token that nothing here reads
        self.prefix = prefix
        self.pooling = pooling
        self.model = backbone
        self.out_dim = int(backbone.config.hidden_size)
        self.blocks = _blocks(backbone)
        self.backbone = _describe(backbone.config)
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


def _load(load: Any, name: str) -> Any:
    local = find_local(name)
    if local is not None:
        try:
            return load(local, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ConfigError(
                where=f"checkpoint {name!r}",
                what=f"it cannot be loaded: {str(error).splitlines()[0]}",
                mend="Pass a folder that transformers' save_pretrained wrote",
            ) from error
    return from_hub(name, lambda only_local: load(name, local_files_only=only_local))


@contextmanager
def _without_bar() -> Iterator[None]:
    """Load in silence: there is a bar of our own."""
    bars: Any = logging  # untyped in transformers
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _limit(wanted: int, of_tokenizer: int, config: PretrainedConfig) -> int:
    """The least of what is wanted, what the tokenizer takes, what the backbone has places for."""
    limit = min(wanted, of_tokenizer) if of_tokenizer < _UNBOUNDED else wanted
    positions = getattr(config, "max_position_embeddings", None)
    if positions and positions > 0:
        # These count their places from behind the padding's id.
        offset = (config.pad_token_id or 0) + 1 if config.model_type in _OFFSET_FAMILIES else 0
        limit = min(limit, positions - offset)
    return limit


def _pooling(options: HfTextOptions, config: PretrainedConfig) -> str:
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
    return "mean" if any(family in name for family in _MEAN_FAMILIES) else "cls"


def _blocks(backbone: PreTrainedModel) -> list[nn.Module]:
    """Embeddings, then the layers; a backbone of another shape is one block."""
    layers = [
        module
        for module in backbone.modules()
        if isinstance(module, nn.ModuleList) and len(module) == backbone.config.num_hidden_layers
    ]
    if not layers:
        return [backbone]
    embeddings = [
        module
        for name, module in backbone.named_children()
        if "embed" in name or name in ("wte", "wpe")
    ]
    return [nn.ModuleList(embeddings), *layers[0]]


def _describe(config: PretrainedConfig) -> dict[str, Any]:
    described = config.to_dict()
    described.pop("_name_or_path", None)  # a path of the training machine
    described.pop("dtype", None)
    return described
