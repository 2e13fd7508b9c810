"""Steps for the training loop, and what each of them sees of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from automm.data.rows import Rows, like_lengths
from automm.tasks.base import Batch
from automm.training.augment import Augmentation
from automm.training.lightning import LightningDataModule

_AS_THEY_ARE = Augmentation()
_ORDER, _CHANGES = 0, 1  # so that the order of the rows and what is done to them are independent


class Step(NamedTuple):
    """The rows of one step of the optimiser.

    Attributes:
        number: From 0, through all epochs.
        rows: Their positions.
    """

    number: int
    rows: list[int]


class TrainingData(LightningDataModule):
    """Training rows in shuffled steps, validation rows in batches of like length.

    Every step, and what is done at random to each of its rows, follows from the seed and its
    number alone: to go on after an interruption, begin ``at`` the next one; and it is the same
    whether the step is computed at once, in portions, or by several processes.

    Args:
        train: Rows to learn from.
        valid: Rows to choose the best state by.
        size: Rows that are computed at once.
        valid_size: Rows of a validation batch.
        batch_size: Rows of a step; ``size`` where None.
        epochs: Times that all rows are gone through.
        max_steps: Most steps; -1 for no limit.
        augmentation: What is done to training rows.
        seed: Of the shuffling, and of what is done at random.

    Attributes:
        size_now: Rows that are computed at once; lowered where memory runs out.
        at: Number of the step that comes first.
    """

    def __init__(
        self,
        train: Rows,
        valid: Rows,
        *,
        size: int,
        valid_size: int,
        batch_size: int | None = None,
        epochs: int = 1,
        max_steps: int = -1,
        augmentation: Augmentation = _AS_THEY_ARE,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.train = train
        self.valid = valid
        self.size_now = size
        self.valid_size = valid_size
        self.batch_size = batch_size or size
        self.epochs = epochs
        self.max_steps = max_steps
        self.augmentation = augmentation
        self.seed = seed
        self.at = 0
        self._lengths = train.lengths
        self._order: tuple[int, list[list[int]]] = (-1, [])  # of one epoch, by its number

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in which all rows are gone through once."""
        return -(-len(self.train) // self.batch_size)

    @property
    def last(self) -> int:
        """Number of steps of the whole run."""
        steps = self.epochs * self.steps_per_epoch
        return steps if self.max_steps < 0 else min(steps, self.max_steps)

    def train_dataloader(self) -> DataLoader[Step]:
        """The steps that are left, in their order. No workers: their work was done before."""
        return DataLoader(
            range(self.last),  # type: ignore[arg-type]  # a sequence is a dataset
            sampler=range(self.at, self.last),
            batch_size=None,
            collate_fn=self.step,  # type: ignore[arg-type]  # of one number: there is no batch
        )

    def step(self, number: int) -> Step:
        """Return a step by its number."""
        epoch, place = divmod(int(number), self.steps_per_epoch)
        if self._order[0] != epoch:
            generator = np.random.default_rng([self.seed, _ORDER, epoch])
            self._order = epoch, list(like_lengths(self._lengths, self.batch_size, generator))
        return Step(int(number), self._order[1][place])

    def batch(self, step: Step, places: Sequence[int]) -> Batch:
        """Return the rows at some places of a step, as training sees them."""
        epoch = step.number // self.steps_per_epoch
        chances = [
            np.random.default_rng([self.seed, _CHANGES, step.number, place]) for place in places
        ]
        return self.augmentation.apply(
            self.train, [step.rows[place] for place in places], epoch, chances
        )

    def lengths(self, rows: Sequence[int]) -> NDArray[np.intp]:
        """Return what these rows need of the axes that vary, summed."""
        return self._lengths[list(rows)]

    def valid_batches(self) -> Iterator[tuple[list[int], Batch]]:
        """Yield positions and batches of all validation rows, the shortest first."""
        order = np.argsort(self.valid.lengths, kind="stable").tolist()
        for start in range(0, len(order), self.valid_size):
            rows = order[start : start + self.valid_size]
            yield rows, self.valid.batch(rows)
