"""What a task is, and what the tasks over one fused model have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

from torch import Tensor

from automm.config.data import DataConfig
from automm.config.schema import Config
from automm.models.fused import FusedGraph, FusedModel
from automm_export.graph import Graph
from automm_serve.answers import AnyAnswer, EmbeddingAnswer
from automm_serve.pipeline import Program, Step
from automm_serve.processors import AnyProcessor
from automm_serve.tensors import Table

GRAPH = "predict"
"""Name of the one graph that answers all programs."""


class Batch(NamedTuple):
    """Some rows of a training table.

    Attributes:
        tensors: What the processors made of them.
        targets: What the answer's ``encode`` made of their labels; where rows are mixed also
            ``soft``, the shares of the classes, float32 (rows, classes).
        teacher: ``logits`` and ``features`` of a teacher for the same rows, as
            ``automm.training.distill`` makes them; empty without one.
    """

    tensors: dict[str, Tensor]
    targets: dict[str, Tensor]
    teacher: Mapping[str, Tensor] = MappingProxyType({})


class FitAnswer(Protocol):
    """Makes the codec of a label."""

    def __call__(self, label: str, table: Table, data: DataConfig = ...) -> AnyAnswer:
        """Look at the training rows; ``data`` says how the label is to be scaled or ordered."""


@dataclass(frozen=True)
class Task:
    """A kind of problem as functions.

    Attributes:
        answer: Label name, training rows and settings of the data -> the codec of the label.
        model: Processors, answer, configuration -> the model, which gives logits.
        loss: Model output of a batch -> named losses; training minimises their sum.
        serve: Model, processors, answer -> graphs and programs that answer rows.
        metrics: Those shown after training; the first one is the default.
    """

    answer: FitAnswer
    model: Callable[[Sequence[AnyProcessor], AnyAnswer, Config], FusedModel]
    loss: Callable[[FusedModel, Batch, Config], dict[str, Tensor]]
    serve: Callable[
        [FusedModel, Sequence[AnyProcessor], AnyAnswer],
        tuple[dict[str, Graph], dict[str, Program]],
    ]
    metrics: tuple[str, ...]


def serve_fused(
    model: FusedModel, processors: Sequence[AnyProcessor], answer: AnyAnswer
) -> tuple[dict[str, Graph], dict[str, Program]]:
    """Serve one graph under two programs: the answer, and the features."""
    names = tuple(processor.name for processor in processors)
    steps = (Step(GRAPH),)
    return (
        {GRAPH: FusedGraph(model, processors, answer)},
        {
            "predict": Program(names, steps, answer),
            "embed": Program(names, steps, EmbeddingAnswer(model.out_dim)),
        },
    )
