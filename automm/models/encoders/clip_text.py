"""The text tower of a CLIP checkpoint: token ids -> the projected state of the end of text.

CLIP (Radford et al., 2021, arXiv:2103.00020). AutoGluon has one model ``clip`` for both towers;
here each is an encoder of its own, this and ``clip_image``, so that either is there without the
other, and a fusion joins them like any two.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from automm.config.schema import ClipTextOptions
from automm.models.encoders.base import Encoder
from automm.models.encoders.huggingface import (
    blocks_of,
    describe,
    fit_text,
    load,
    make_model,
)
from automm_serve.processors.text import TextProcessor
from automm_serve.schema import Column
from automm_serve.tensors import Table

from transformers import (  # isort: skip  # after huggingface, which makes it importable
    CLIPTextConfig,
    CLIPTextModelWithProjection,
)

KINDS = ("text",)
OPTIONS = ClipTextOptions


def fit(
    name: str, table: Table, columns: Sequence[Column], options: ClipTextOptions
) -> TextProcessor:
    """Take the tokenizer, and the number of places, from the checkpoint."""
    config = load(CLIPTextConfig.from_pretrained, options.checkpoint_name)
    return fit_text(name, columns, options, config)


def build(processor: TextProcessor, options: ClipTextOptions) -> ClipText:
    """Build the encoder: pretrained, or the architecture alone."""
    config = load(CLIPTextConfig.from_pretrained, options.checkpoint_name)
    kind = CLIPTextModelWithProjection
    tower = make_model(kind, config, options.checkpoint_name, pretrained=options.pretrained)
    return ClipText(processor, tower)


class ClipText(Encoder):
    """Tower, the last token's state, projection, unit length."""

    def __init__(self, processor: TextProcessor, tower: CLIPTextModelWithProjection) -> None:
        super().__init__()
        self.prefix = processor.name
        self.model = tower
        self.out_dim = tower.text_projection.out_features
        self.blocks = blocks_of(tower, tower.config.num_hidden_layers)
        self.backbone = describe(tower.config)

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Map ``{p}_ids`` and ``{p}_mask`` int32 (batch, length) to ``features`` and ``tokens``.

        ``features`` are float32 (batch, out_dim) of length 1.
        """
        ids = tensors[f"{self.prefix}_ids"].long()
        mask = tensors[f"{self.prefix}_mask"].long()
        tokens = self.model.text_model(input_ids=ids, attention_mask=mask).last_hidden_state
        # Not the tower's own choice, the first end of text: between two columns stands one too.
        last = (mask.sum(dim=1) - 1).clamp(min=0).reshape(-1, 1, 1)
        state = tokens.gather(1, last.expand(-1, 1, tokens.shape[2])).squeeze(1)
        return {
            "features": functional.normalize(self.model.text_projection(state)),
            "tokens": tokens,
        }
