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
        folder: For states that are too large for memory, where somebody else clears up; a
            temporary one otherwise.
    """

    def __init__(
        self,
        model: nn.Module,
        top_k: int,
        is_better: Callable[[float, float], bool],
        folder: Path | None = None,
    ) -> None:
        self.model = model
        self.top_k = top_k
        self.is_better = is_better
        self.kept: list[tuple[float, int]] = []  # best first: score, number of the state
        self.count = 0  # states that were ever kept
        self.newest: int | None = None  # number of the present state, where it was kept
        self._states: dict[int, State | Path] = {}
        self._folder = folder
        self._own: TemporaryDirectory[str] | None = None

    @property
    def scores(self) -> list[float]:
        """Scores of the states, the best one first."""
        return [score for score, _ in self.kept]

    @property
    def numbers(self) -> list[int]:
        """Numbers of the states, the best one first."""
        return [number for _, number in self.kept]

    def offer(self, score: float) -> bool:
        """Keep the model's present state if it is among the best; tell whether it is the best."""
        self.newest = None
        place = next(
            (i for i, (kept, _) in enumerate(self.kept) if self.is_better(score, kept)),
            len(self.kept),
        )
        if place >= self.top_k:
            return False
        self.newest = self.count
        self.kept.insert(place, (score, self.count))
        self._states[self.count] = self._store(take_state(self.model), self.count)
        self.count += 1
        for _, number in self.kept[self.top_k :]:
            self._drop(number)
        del self.kept[self.top_k :]
        return place == 0

    def load(self, place: int) -> State:
        """Return a state, 0 the best."""
        return self.state(self.kept[place][1])

    def state(self, number: int) -> State:
        """Return a state by its number."""
        stored = self._states[number]
        return load_file(stored) if isinstance(stored, Path) else stored

    def change(self, how: Callable[[State], State]) -> None:
        """Put what a function makes of it in the place of every state."""
        kept_for_others, self._folder = self._folder, None
        for number in self.numbers:
            changed = how(self.state(number))
            if kept_for_others is None:
                self._drop(number)
            self._states[number] = self._store(changed, number)

    def restore(self, kept: list[tuple[float, int]], files: dict[int, Path], count: int) -> None:
        """Take states over that an earlier run has kept, in files that stay where they are."""
        self.kept, self.count = list(kept), count
        for number, file in files.items():
            fits = file.stat().st_size * self.top_k <= IN_MEMORY_BYTES
            self._states[number] = load_file(file) if fits else file

    def close(self) -> None:
        """Remove what lies on disk, but not in a folder that was given."""
        if self._own is not None:
            self._own.cleanup()

    def _store(self, state: State, number: int) -> State | Path:
        size = sum(tensor.nbytes for tensor in state.values())
        if size * self.top_k <= IN_MEMORY_BYTES:
            return state
        path = self._place() / f"best-{number}.safetensors"
        new = path.with_suffix(".new")
        save_file(state, new)
        new.rename(path)
        return path

    def _place(self) -> Path:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._folder
        if self._own is None:
            self._own = TemporaryDirectory(prefix="automm-states-")
        return Path(self._own.name)

    def _drop(self, number: int) -> None:
        dropped = self._states.pop(number)
        if isinstance(dropped, Path) and self._folder is None:
            dropped.unlink()


def take_state(model: nn.Module) -> State:
    """Copy what training changes: trained parameters, and buffers (statistics of norms).

    A linear model is of buffers, too, and is fitted before.
    """
    changing = {name: p for name, p in model.named_parameters() if p.requires_grad}
    buffers = {name: b for name, b in model.named_buffers() if not name.startswith("wide.")}
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


def cook(
    best: BestStates,
    method: str,
    score: Callable[[], float],
    goes_on: Callable[[], bool] = lambda: True,
) -> tuple[float, int]:
    """Leave the model with the best state, or with an average of the kept ones.

    Args:
        best: At least one state.
        method: ``best``; ``uniform_soup``, the average of all; ``greedy_soup``, which begins with
            the best and takes each next in where the average gets no worse.
        score: Scores the model as it is.
        goes_on: Asked before each further average; where it says no, what is reached stays.

    Returns:
        Its score, and how many states are in it.
    """
    model, count = best.model, len(best.scores)
    if method == "uniform_soup" and count > 1 and goes_on():
        put_state(model, average([best.load(place) for place in range(count)]))
        return score(), count
    chosen, reached = [best.load(0)], best.scores[0]
    for place in range(1, count if method == "greedy_soup" else 1):
        if not goes_on():
            break
        tried = [*chosen, best.load(place)]
        put_state(model, average(tried))
        found = score()
        if not best.is_better(reached, found):
            chosen, reached = tried, found
    put_state(model, average(chosen) if len(chosen) > 1 else chosen[0])
    return reached, len(chosen)
