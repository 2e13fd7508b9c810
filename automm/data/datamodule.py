"""Batches for the training loop."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import DataLoader

from automm.data.rows import Rows, like_lengths
from automm.tasks.base import Batch
from automm.training.lightning import LightningDataModule


class TrainingData(LightningDataModule):
    """Training rows in shuffled batches, validation rows in batches of like length.

    Args:
        train: Rows to learn from.
        valid: Rows to choose the best state by.
        size: Rows a training batch.
        valid_size: Rows a validation batch.
        modality_dropout: Chance that a processor's cells are taken for missing, row by row.
        seed: Of the shuffling.
    """

    def __init__(
        self,
        train: Rows,
        valid: Rows,
        *,
        size: int,
        valid_size: int,
        modality_dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.train = train
        self.valid = valid
        self.size = size
        self.valid_size = valid_size
        self.modality_dropout = modality_dropout
        self._generator = np.random.default_rng(seed)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of one epoch. No workers: what they would do has been done once, before."""
        batches = _Epoch(self.train, self.size, self._generator)
        return DataLoader(
            range(len(self.train)),  # type: ignore[arg-type]  # a sequence is a dataset
            batch_sampler=batches,
            collate_fn=self._collate,
        )

    def valid_batches(self) -> Iterator[tuple[list[int], Batch]]:
        """Yield positions and batches of all validation rows, the shortest first."""
        order = np.argsort(self.valid.lengths, kind="stable").tolist()
        for start in range(0, len(order), self.valid_size):
            rows = order[start : start + self.valid_size]
            yield rows, self.valid.batch(rows)

    def _collate(self, rows: list[int]) -> Batch:
        batch = self.train.batch(rows)
        names = [processor.name for processor in self.train.processors]
        if not self.modality_dropout or len(names) < 2:
            return batch
        drop = self._generator.random((len(rows), len(names))) < self.modality_dropout
        drop[drop.all(axis=1)] = False  # a row of which nothing is left teaches nothing
        columns = {name: np.ascontiguousarray(drop[:, i]) for i, name in enumerate(names)}
        return self.train.without(batch, columns)


class _Epoch:
    """The batch sampler: as many batches every epoch, other ones each time."""

    def __init__(self, rows: Rows, size: int, generator: np.random.Generator) -> None:
        self.rows = rows
        self.size = size
        self.generator = generator

    def __len__(self) -> int:
        return -(-len(self.rows) // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        return like_lengths(self.rows.lengths, self.size, self.generator)
