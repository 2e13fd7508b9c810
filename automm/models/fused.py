"""The model that is trained, and the graph around it that is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from automm.config.schema import Config, OptimConfig
from automm.models.encoders import find_encoder, options_of
from automm.models.encoders.base import Encoder
from automm.models.fusion import build_fusion, fusion_options
from automm.models.heads import build_head, logits_of
from automm.models.wide import Wide, build_wide
from automm_export.graph import Graph
from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.errors import ConfigError
from automm_serve.processors import AnyProcessor
from automm_serve.tensors import BATCH, TensorSpec


class FusedModel(nn.Module):
    """Encoders, the fusion (none for one encoder), the head; beside them a linear model or none.

    Attributes:
        encoders: Processor name -> the encoder of its tensors.
        wide: Linear model whose logits are added; None where there is none.
        out_dim: Width of ``features``, what the head reads.
        temperature: Of the classes, float32 (); answers divide the logits by it, training does
            not. None where there are no classes.
    """

    temperature: Tensor | None

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        fusion: nn.Module | None,
        answer: AnyAnswer,
        aux_loss_weight: float | None = None,
        *,
        aligns: bool = False,
        wide: Wide | None = None,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.wide = wide
        self.fusion = fusion
        widths = {name: encoder.out_dim for name, encoder in encoders.items()}
        self.out_dim = int(fusion.out_dim) if fusion else sum(widths.values())  # type: ignore[arg-type]  # an int by contract
        self.head = build_head(self.out_dim, answer)
        has_classes = isinstance(answer, ClassesAnswer)
        self.register_buffer("temperature", torch.ones(()) if has_classes else None)
        self.aligns = aligns and fusion is not None
        self.aux_loss_weight = aux_loss_weight or 0.0
        self.aux_heads = nn.ModuleDict(
            {name: build_head(width, answer) for name, width in widths.items()}
            if fusion and aux_loss_weight
            else {}
        )

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``logits`` (batch, classes or 1) and ``features`` (batch, out_dim).

        In training also ``aux_<encoder>``, the logits of each encoder alone, where there are
        heads for them; and ``aligned`` (batch, encoders, width), what the fusion joins, where it
        is to be drawn together.
        """
        parts = {name: encoder(tensors)["features"] for name, encoder in self.encoders.items()}
        if self.fusion is None:
            (features,) = parts.values()
        else:
            features = self.fusion(list(parts.values()))
        logits = self.head(features)
        if self.wide is not None:
            logits = self.wide.share * logits + self.wide(tensors)
        found = {"logits": logits, "features": features}
        if self.training:
            found |= {f"aux_{name}": head(parts[name]) for name, head in self.aux_heads.items()}
        if self.training and self.aligns:
            adapters: Any = self.fusion.adapters  # type: ignore[union-attr]  # every fusion has them
            adapted = [adapt(x) for adapt, x in zip(adapters, parts.values(), strict=True)]
            found["aligned"] = torch.stack(adapted, dim=1)
        return found


class FusedGraph(Graph):
    """The model with what its answer needs: temperature and softmax, or the unit of the label."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, model: FusedModel, processors: Sequence[AnyProcessor], answer: AnyAnswer
    ) -> None:
        super().__init__()
        self.model = model
        mean, deviation = 0.0, 1.0
        if isinstance(answer, ValuesAnswer):
            mean, deviation = answer.mean, answer.deviation
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))
        width = logits_of(answer)
        self.inputs = tuple(spec for processor in processors for spec in processor.specs())
        self.outputs = (
            TensorSpec(answer.reads[0], "float32", (BATCH, width)),
            TensorSpec("features", "float32", (BATCH, model.out_dim)),
        )

    @property
    def towers(self) -> Mapping[str, tuple[str, ...]]:
        """Each encoder by its name; the fusion, or the head alone, with the head."""
        found = {name: (f"model.encoders.{name}",) for name in self.model.encoders}
        last = "head" if self.model.fusion is None else "fusion"
        return {**found, last: ("model.fusion", "model.head", "model.wide")}

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``probabilities`` or ``values``, and ``features``."""
        found = self.model(tensors)
        logits = found["logits"]
        if self.model.temperature is not None:
            probabilities = (logits / self.model.temperature).softmax(dim=1)
            return {"probabilities": probabilities, "features": found["features"]}
        return {"values": logits * self.deviation + self.mean, "features": found["features"]}


def build_fused(
    processors: Sequence[AnyProcessor], answer: AnyAnswer, config: Config
) -> FusedModel:
    """Build the encoder of each processor, and join them where there are several.

    Raises:
        ConfigError: An encoder cannot be had, or there is nothing that could be drawn together.
    """
    _check_align(len(processors), config.optim)
    encoders: dict[str, Encoder] = {}
    for processor in processors:
        options = options_of(config, processor.name)
        encoder = find_encoder(processor.name).build(processor, options)
        encoder.freeze(options.frozen_blocks)
        encoders[processor.name] = encoder
    fusion = None
    if len(encoders) > 1:
        widths = [encoder.out_dim for encoder in encoders.values()]
        fusion = build_fusion(widths, config)
    return FusedModel(
        encoders,
        fusion,
        answer,
        fusion_options(config).aux_loss_weight,
        aligns=config.optim.cross_modal_align is not None,
        wide=build_wide(processors, logits_of(answer)) if config.model.wide.use else None,
    )


def _check_align(encoders: int, optim: OptimConfig) -> None:
    if optim.cross_modal_align is None or (encoders > 1 and optim.cross_modal_align_weight):
        return
    weightless = encoders > 1
    raise ConfigError(
        where="hyperparameter 'optim.cross_modal_align'",
        what="its weight is 0" if weightless else "there is one encoder, and nothing to align",
        mend="Set optim.cross_modal_align_weight" if weightless else "Leave it out",
    )
