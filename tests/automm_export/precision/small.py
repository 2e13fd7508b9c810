"""Graphs of two towers, so small that each is written in seconds, and what is needed to judge them.

source = write(tmp_path, model())                 # a Source with its file in fp32
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from automm_export.cases import Cases
from automm_export.exportable import Exportable
from automm_export.graph import Graph
from automm_export.precision.forms import Source
from automm_export.rewrite import to_onnx
from automm_export.session import TorchSession
from automm_export.writer import write_graph
from automm_serve.answers import ClassesAnswer
from automm_serve.pipeline import Pipeline, Program, Step
from automm_serve.predictor import LocalPredictor
from automm_serve.processors import TabularProcessor
from automm_serve.schema import Column, Schema
from automm_serve.tensors import BATCH, TensorSpec

LABEL = "kind"
WIDTH = 16


class Scale(nn.Module):
    """Raw numbers around 500,000 -> around 0."""

    keep_fp32 = True

    def forward(self, numbers: Tensor) -> Tensor:
        filled = torch.where(torch.isnan(numbers), torch.full_like(numbers, 5e5), numbers)
        return (filled - 5e5) / 1e5


class Left(nn.Module):
    """Scales inside, then a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = Scale()
        self.layer = nn.Linear(2, WIDTH)

    def forward(self, numbers: Tensor) -> Tensor:
        return torch.tanh(self.layer(self.scale(numbers)))


class Right(nn.Module):
    """Its features are multiplied on the way, and divided again."""

    weight: Tensor

    def __init__(self, factor: float, weight: float, masked: bool) -> None:
        super().__init__()
        self.scale = Scale()
        self.layer = nn.Linear(2, WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.masked = masked
        self.factor = factor
        # Times a number that is 0 in every row: the constant is large, and no activation is.
        self.register_buffer("weight", torch.full((1,), weight))

    def forward(self, numbers: Tensor) -> Tensor:
        found: Tensor = (
            self.out(torch.tanh(self.layer(self.scale(numbers))) * self.factor) / self.factor
        )
        found = found + torch.relu(-(found**2)) * self.weight
        if self.masked:
            low = torch.finfo(torch.float32).min
            mask = torch.where(found > found.mean(dim=1, keepdim=True), 0.0, low)
            found = torch.softmax(found + mask + mask, dim=1)
        return found


class Two(Graph):
    """Two towers over the same numbers, joined by a head."""

    def __init__(self, factor: float = 1.0, weight: float = 1.0, masked: bool = False) -> None:
        super().__init__()
        self.inputs = (TensorSpec("tabular_numbers", "float32", (BATCH, 2)),)
        self.outputs = (
            TensorSpec("probabilities", "float32", (BATCH, 3)),
            TensorSpec("features", "float32", (BATCH, 2 * WIDTH)),
        )
        self.left = Left()
        self.right = Right(factor, weight, masked)
        self.head = nn.Linear(2 * WIDTH, 3)
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                wave = torch.sin(torch.arange(parameter.numel()) * 0.7 + number)
                parameter.copy_(wave.reshape(parameter.shape))

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        numbers = tensors["tabular_numbers"]
        features = torch.cat([self.left(numbers), self.right(numbers)], dim=1)
        return {"probabilities": self.head(features).softmax(dim=1), "features": features}


class OneTower(Two):
    """The same, with nothing that could retreat alone."""

    @property
    def towers(self) -> Mapping[str, tuple[str, ...]]:
        return {"all": ("left", "right", "head")}


def rows(count: int = 40, seed: int = 0) -> dict[str, list[object]]:
    draw = np.random.default_rng(seed)
    return {
        "price": [None if i % 9 == 4 else float(draw.normal(5e5, 1e5)) for i in range(count)],
        "cost": [float(draw.normal(5e5, 1e5)) for _ in range(count)],
    }


def model(graph: Graph | None = None, outliers: bool = False) -> Exportable:
    """A model whose labelled rows have the label that it answers itself: nothing can be better.

    Args:
        graph: Of it.
        outliers: Every twentieth price is so high that a scale for it and its neighbours together
            leaves nothing of them, as dynamic int8 takes it.
    """
    table = rows()
    graph = (graph or Two()).eval()
    processor = TabularProcessor.fit("tabular", table, ["price", "cost"], [])
    answer = ClassesAnswer(LABEL, ("a", "b", "c"))
    pipeline = Pipeline(
        "two",
        "multiclass",
        Schema((Column("price", "number"), Column("cost", "number"))),
        (processor,),
        {"predict": Program(("tabular",), (Step("predict"),), answer)},
    )
    more = rows(200, seed=1)
    if outliers:
        more["price"] = [5e9 if i % 20 == 7 else cell for i, cell in enumerate(more["price"])]
    found = LocalPredictor(pipeline, {"predict": TorchSession(graph)}).run(more).columns
    tuning = {**more, LABEL: list(found[LABEL])}
    return Exportable(pipeline, {"predict": graph}, table, table, tuning=tuning, metric="accuracy")


def write(folder: Path, exportable: Exportable) -> Source:
    """Write the graph in fp32, as ``export`` does."""
    cases = Cases(exportable.pipeline, exportable.golden)
    graph = exportable.graphs["predict"]
    files = write_graph(
        folder,
        "two__predict",
        graph.inputs,
        graph.outputs,
        lambda path: to_onnx("predict", graph, cases.traced(), path),
    )
    return Source(folder, exportable, {"predict": files})
