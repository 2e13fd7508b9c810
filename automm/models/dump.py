"""Pretrained encoders as checkpoints of their own library, for it or for another fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from torch import nn

from automm.models.encoders.base import Encoder
from automm.models.fused import FusedModel
from automm_serve.errors import ConfigError
from automm_serve.processors import AnyProcessor
from automm_serve.processors.text import TextProcessor


def dump_encoders(
    model: FusedModel, processors: Sequence[AnyProcessor], folder: Path
) -> list[Path]:
    """Write each encoder that has a backbone to ``folder/<name>``.

    Args:
        model: Trained.
        processors: Of the model: the tokenizer is the text processor's.
        folder: Made where it is absent.

    Returns:
        The folders, each with ``config.json`` and ``model.safetensors``.

    Raises:
        ConfigError: No encoder has a backbone.
    """
    written = []
    for processor in processors:
        encoder = model.encoders[processor.name]
        assert isinstance(encoder, Encoder)
        backbone = getattr(encoder, "model", None)
        if encoder.backbone is None or not isinstance(backbone, nn.Module):
            continue
        place = folder / processor.name
        place.mkdir(parents=True, exist_ok=True)
        if hasattr(backbone, "save_pretrained"):
            _dump_transformer(backbone, processor, place)
        else:
            _dump_timm(backbone, encoder.backbone, place)
        written.append(place)
    if not written:
        raise ConfigError(
            where="dump_model",
            what="none of the encoders stands on a checkpoint",
            mend="Call save instead",
        )
    return written


def _dump_transformer(backbone: Any, processor: AnyProcessor, place: Path) -> None:
    """As transformers writes it, the tokenizer beside."""
    backbone.save_pretrained(place)
    if not isinstance(processor, TextProcessor):
        return
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    make: Any = PreTrainedTokenizerFast  # untyped in transformers
    tokenizer = Tokenizer.from_str(bytes(processor.tokenizer).decode())
    make(tokenizer_object=tokenizer, model_max_length=processor.limit).save_pretrained(place)


def _dump_timm(backbone: nn.Module, description: dict[str, Any], place: Path) -> None:
    """As timm's ``local-dir`` reads it."""
    from safetensors.torch import save_model

    content = msgspec.json.format(msgspec.json.encode(description), indent=2)
    (place / "config.json").write_bytes(content + b"\n")
    save_model(backbone, str(place / "model.safetensors"))
