"""Scores of validation rows: by the graph that will be served, its answers, and a metric."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import monotonic

import msgspec
import numpy as np
import torch

from automm.data.datamodule import TrainingData
from automm.training.memory import free, is_out_of_memory
from automm_export.graph import Graph
from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.metrics import Metric, find_metric, problem_type_of, score
from automm_serve.tensors import Tensors


def is_finite(tensors: Tensors) -> bool:
    """Tell whether these outputs are numbers: weights that have diverged give none."""
    return all(bool(np.isfinite(tensor).all()) for tensor in tensors.values())


@dataclass(frozen=True)
class Scorer:
    """Scores a graph on the validation rows.

    Attributes:
        data: Holds the rows.
        answer: Decodes what the graph gives.
        metric: Name of the one to choose by.
        own: That metric, where it is a user's function.
    """

    data: TrainingData
    answer: AnyAnswer
    metric: str
    own: Metric | None = None

    @property
    def chosen(self) -> Metric:
        """The metric itself."""
        return self.own or find_metric(self.metric, problem_type_of(self.answer))

    def score(self, graph: Graph) -> float:
        """Return the metric of the graph's answers; the graph's mode is put back."""
        return self.of(self.answers(graph))

    def of(self, tensors: Tensors, metric: str | None = None) -> float:
        """Return a metric of these outputs for the validation rows; NaN for what is no number."""
        if not is_finite(tensors):
            return float("nan")
        chosen = find_metric(metric, problem_type_of(self.answer)) if metric else self.chosen
        truth = self.data.valid.table[self.answer.columns[0].name]
        return score(chosen, self.answer, truth, self.answer.decode(tensors))[chosen.name]

    def is_better(self, new: float, old: float) -> bool:
        """Tell whether one score beats another; NaN never does."""
        if np.isnan(new) or np.isnan(old):
            return not np.isnan(new)
        return new > old if self.chosen.greater_is_better else new < old

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
        mean = self.data.train.targets["targets"].mean(dtype=np.float64)
        value = mean * self.answer.deviation + self.answer.mean
        return {"values": np.full((rows, 1), value, np.float32)}

    def at(self, threshold: float) -> Scorer:
        """Return a scorer that answers the second class of two from this probability on."""
        return replace(self, answer=msgspec.structs.replace(self.answer, threshold=threshold))

    def guess_s(self, graph: Graph) -> float:
        """Return the seconds that a validation will take, from a batch of it."""
        rows, batch = next(self.data.valid_batches())  # the shortest rows: hence half as much again
        device, mode = next(graph.parameters()).device, graph.training
        begun = monotonic()
        graph.eval()
        with torch.no_grad():
            found = graph({key: tensor.to(device) for key, tensor in batch.tensors.items()})
            found[self.answer.reads[0]].cpu()
        graph.train(mode)
        return 1.5 * (monotonic() - begun) * len(self.data.valid) / len(rows)

    def answers(self, graph: Graph) -> Tensors:
        """Answer the validation rows, fewer at once where memory runs out."""
        while True:
            try:
                return self._run_once(graph)
            except RuntimeError as error:
                if not is_out_of_memory(error) or self.data.valid_size == 1:
                    raise
            free()
            self.data.valid_size //= 2

    def _run_once(self, graph: Graph) -> Tensors:
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
