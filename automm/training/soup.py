"""The best states of a run, and their average (model soups; Wortsman et al., 2022, 2203.05482)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

State: TypeAlias = dict[str, Tensor]

IN_MEMORY_BYTES = 2 << 30
"""States beyond this lie in a temporary folder, as safetensors."""


class BestStates:
    """Keeps what is trained of a model as it was at its best validations.

    What is frozen does not change, so it is not kept.

    Args:
        model: Whose states are kept.
        top_k: How many.
        is_better: Compares two scores.
    """

    def __init__(
        self, model: nn.Module, top_k: int, is_better: Callable[[float, float], bool]
    ) -> None:
        self.model = model
        self.top_k = top_k
        self.is_better = is_better
        self._kept: list[tuple[float, int]] = []  # best first: score, number of the state
        self._states: dict[int, State | Path] = {}
        self._count = 0
        self._folder: TemporaryDirectory[str] | None = None

    @property
    def scores(self) -> list[float]:
        """Scores of the states, the best one first."""
        return [score for score, _ in self._kept]

    def offer(self, score: float) -> bool:
        """Keep the model's present state if it is among the best; tell whether it is the best."""
        place = next(
            (i for i, (kept, _) in enumerate(self._kept) if self.is_better(score, kept)),
            len(self._kept),
        )
        if place >= self.top_k:
            return False
        self._kept.insert(place, (score, self._count))
        self._states[self._count] = self._store(take_state(self.model))
        self._count += 1
        for _, number in self._kept[self.top_k :]:
            dropped = self._states.pop(number)
            if isinstance(dropped, Path):
                dropped.unlink()
        del self._kept[self.top_k :]
        return place == 0

    def load(self, place: int) -> State:
        """Return a state, 0 the best."""
        stored = self._states[self._kept[place][1]]
        return load_file(stored) if isinstance(stored, Path) else stored

    def close(self) -> None:
        """Remove what lies on disk."""
        if self._folder is not None:
            self._folder.cleanup()

    def _store(self, state: State) -> State | Path:
        size = sum(tensor.nbytes for tensor in state.values())
        if size * self.top_k <= IN_MEMORY_BYTES:
            return state
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="automm-states-")
        path = Path(self._folder.name) / f"{self._count}.safetensors"
        save_file(state, path)
        return path


def take_state(model: nn.Module) -> State:
    """Copy what training changes: trained parameters, and buffers (statistics of norms)."""
    changing = {name: p for name, p in model.named_parameters() if p.requires_grad}
    buffers = dict(model.named_buffers())
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in (changing | buffers).items()
    }


def put_state(model: nn.Module, state: State) -> None:
    """Put a state into the model it was taken of."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for name, tensor in state.items():
            tensors[name].copy_(tensor)


def average(states: Sequence[State]) -> State:
    """Average in float64; what is no float, such as a counter, is the first one's."""
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(first.dtype)
        if first.is_floating_point()
        else first
        for name, first in states[0].items()
    }


def cook(best: BestStates, method: str, score: Callable[[], float]) -> tuple[float, int]:
    """Leave the model with the best state, or with an average of the kept ones.

    Args:
        best: At least one state.
        method: ``best``; ``uniform_soup``, the average of all; ``greedy_soup``, which begins with
            the best and takes each next in where the average gets no worse.
        score: Scores the model as it is.

    Returns:
        Its score, and how many states are in it.
    """
    model, count = best.model, len(best.scores)
    if method == "uniform_soup" and count > 1:
        put_state(model, average([best.load(place) for place in range(count)]))
        return score(), count
    chosen, reached = [best.load(0)], best.scores[0]
    for place in range(1, count if method == "greedy_soup" else 1):
        tried = [*chosen, best.load(place)]
        put_state(model, average(tried))
        found = score()
        if not best.is_better(reached, found):
            chosen, reached = tried, found
    put_state(model, average(chosen) if len(chosen) > 1 else chosen[0])
    return reached, len(chosen)
