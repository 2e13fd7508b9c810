"""The model that is trained, and the graph around it that is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from automm.config.schema import Config
from automm.models.encoders import find_encoder, options_of
from automm.models.encoders.base import Encoder
from automm.models.fusion import FUSIONS, build_fusion
from automm.models.heads import build_head
from automm_export.graph import Graph
from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.processors import AnyProcessor
from automm_serve.tensors import BATCH, TensorSpec


class FusedModel(nn.Module):
    """Encoders, the fusion (none for one encoder), the head.

    Attributes:
        encoders: Processor name -> the encoder of its tensors.
        out_dim: Width of ``features``, what the head reads.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        fusion: nn.Module | None,
        answer: AnyAnswer,
        aux_loss_weight: float | None = None,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        widths = {name: encoder.out_dim for name, encoder in encoders.items()}
        self.out_dim = int(fusion.out_dim) if fusion else sum(widths.values())  # type: ignore[arg-type]  # an int by contract
        self.head = build_head(self.out_dim, answer)
        self.aux_loss_weight = aux_loss_weight or 0.0
        self.aux_heads = nn.ModuleDict(
            {name: build_head(width, answer) for name, width in widths.items()}
            if fusion and aux_loss_weight
            else {}
        )

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``logits`` (batch, classes or 1) and ``features`` (batch, out_dim).

        In training also ``aux_<encoder>``, the logits of each encoder alone, where there are
        heads for them.
        """
        parts = {name: encoder(tensors)["features"] for name, encoder in self.encoders.items()}
        if self.fusion is None:
            (features,) = parts.values()
        else:
            features = self.fusion(list(parts.values()))
        found = {"logits": self.head(features), "features": features}
        if self.training:
            found |= {f"aux_{name}": head(parts[name]) for name, head in self.aux_heads.items()}
        return found


class FusedGraph(Graph):
    """The model with what its answer needs: softmax over classes, or the unit of the label."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, model: FusedModel, processors: Sequence[AnyProcessor], answer: AnyAnswer
    ) -> None:
        super().__init__()
        self.model = model
        self.is_classes = isinstance(answer, ClassesAnswer)
        mean, deviation = 0.0, 1.0
        if isinstance(answer, ValuesAnswer):
            mean, deviation = answer.mean, answer.deviation
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))
        width = len(answer.classes) if isinstance(answer, ClassesAnswer) else 1
        self.inputs = tuple(spec for processor in processors for spec in processor.specs())
        self.outputs = (
            TensorSpec(answer.reads[0], "float32", (BATCH, width)),
            TensorSpec("features", "float32", (BATCH, model.out_dim)),
        )

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``probabilities`` or ``values``, and ``features``."""
        found = self.model(tensors)
        logits = found["logits"]
        if self.is_classes:
            return {"probabilities": logits.softmax(dim=1), "features": found["features"]}
        return {"values": logits * self.deviation + self.mean, "features": found["features"]}


def build_fused(
    processors: Sequence[AnyProcessor], answer: AnyAnswer, config: Config
) -> FusedModel:
    """Build the encoder of each processor, and join them where there are several."""
    encoders: dict[str, Encoder] = {}
    for processor in processors:
        options = options_of(config, processor.name)
        encoder = find_encoder(processor.name).build(processor, options)
        encoder.freeze(options.frozen_blocks)
        encoders[processor.name] = encoder
    fusion = None
    if len(encoders) > 1:
        widths = [encoder.out_dim for encoder in encoders.values()]
        chosen = next((name for name in config.model.names if name in FUSIONS), "fusion_mlp")
        fusion = build_fusion(chosen, widths, config)
    return FusedModel(encoders, fusion, answer, config.model.fusion_mlp.aux_loss_weight)
