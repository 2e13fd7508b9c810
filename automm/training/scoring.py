"""Scores of validation rows: by the graph that will be served, its answers, and a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from automm.data.datamodule import TrainingData
from automm_export.graph import Graph
from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.metrics import METRICS, score
from automm_serve.tensors import Tensors


@dataclass(frozen=True)
class Scorer:
    """Scores a graph on the validation rows.

    Attributes:
        data: Holds the rows.
        answer: Decodes what the graph gives.
        metric: The one to choose by.
    """

    data: TrainingData
    answer: AnyAnswer
    metric: str

    def score(self, graph: Graph) -> float:
        """Return the metric of the graph's answers; the graph's mode is put back."""
        return self.of(self._run(graph))

    def of(self, tensors: Tensors, metric: str | None = None) -> float:
        """Return a metric of these outputs for the validation rows."""
        name = metric or self.metric
        truth = self.data.valid.table[self.answer.columns[0].name]
        return float(score(name, self.answer, truth, self.answer.decode(tensors))[name])

    def is_better(self, new: float, old: float) -> bool:
        """Tell whether one score beats another; NaN never does."""
        if np.isnan(new) or np.isnan(old):
            return not np.isnan(new)
        return new > old if METRICS[self.metric].greater_is_better else new < old

    def trivial(self) -> Tensors:
        """Return what the trivial predictor answers: shares of the classes, or the mean."""
        rows = len(self.data.valid)
        if isinstance(self.answer, ClassesAnswer):
            counts = np.bincount(
                self.data.train.targets["classes"], minlength=len(self.answer.classes)
            )
            shares = (counts / counts.sum()).astype(np.float32)
            return {"probabilities": np.tile(shares, (rows, 1))}
        assert isinstance(self.answer, ValuesAnswer)
        return {"values": np.full((rows, 1), self.answer.mean, np.float32)}

    def scores(self, graph: Graph, metrics: Sequence[str]) -> dict[str, float]:
        """Return several metrics of the graph's answers."""
        tensors = self._run(graph)
        return {name: self.of(tensors, name) for name in metrics}

    def _run(self, graph: Graph) -> Tensors:
        device = next(graph.parameters()).device
        name = self.answer.reads[0]
        found = np.empty(0, np.float32)
        mode = graph.training
        graph.eval()
        with torch.no_grad():
            for rows, batch in self.data.valid_batches():
                feed = {key: tensor.to(device) for key, tensor in batch.tensors.items()}
                part = graph(feed)[name].float().cpu().numpy()
                if not len(found):
                    found = np.empty((len(self.data.valid), *part.shape[1:]), np.float32)
                found[rows] = part
        graph.train(mode)
        return {name: found}
