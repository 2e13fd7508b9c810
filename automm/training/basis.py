"""What rows bring to the linear model beside the network, as a sparse matrix to fit it by."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from automm.data.rows import Rows
from automm.models.wide import FORMS, NumbersPart, Part, TokensPart, Wide
from automm.training.linear import Floats


class Basis:
    """What rows bring, a column for each place of a linear model that occurs among them.

    Attributes:
        cells: Sparse, float64 (rows, columns).
    """

    def __init__(self, wide: Wide, rows: Rows, order: NDArray[np.intp]) -> None:
        from scipy import sparse

        self._wide = wide
        self._used: list[NDArray[np.intp]] = []
        self._scales: list[Floats] = []
        forms: list[NDArray[np.intp]] = []  # of the numbers; -1 for what has none
        tensors = rows.kept(names_read(wide, rows), order)
        blocks = []
        for part in wide.parts.values():
            assert isinstance(part, Part)
            places = part.places(tensors).numpy()
            starts = np.arange(len(places) + 1) * places.shape[1]
            amounts = part.amounts(tensors).numpy().astype(np.float64)
            shape = (len(places), len(part.weight))
            block = sparse.csr_matrix((amounts.ravel(), places.ravel(), starts), shape=shape)
            block.sum_duplicates()
            block.eliminate_zeros()
            used = np.unique(block.indices)
            block = block[:, used]
            scales = _rarity(block) if isinstance(part, TokensPart) else np.ones(len(used))
            blocks.append(block @ sparse.diags(scales))
            self._used.append(used)
            self._scales.append(scales)
            none = np.full(len(used), -1)
            forms.append(part.form_of(used) if isinstance(part, NumbersPart) else none)
        self.cells = sparse.hstack(blocks).tocsr()
        self._forms = np.concatenate(forms)

    def keep(self, most: int) -> None:
        """Keep the columns that occur in the most rows, so many of them."""
        if self.cells.shape[1] <= most:
            return
        counts = np.bincount(self.cells.indices, minlength=self.cells.shape[1])
        kept = np.zeros(len(counts), bool)
        kept[np.argsort(-counts, kind="stable")[:most]] = True
        self.cells, self._forms = self.cells[:, kept], self._forms[kept]
        ends = np.cumsum([len(used) for used in self._used])[:-1]
        parts = np.split(kept, ends)
        self._used = [used[part] for used, part in zip(self._used, parts, strict=True)]
        self._scales = [scale[part] for scale, part in zip(self._scales, parts, strict=True)]

    @property
    def has_numbers(self) -> bool:
        """Whether there is anything to choose a form for."""
        return bool((self._forms >= 0).any())

    def columns(self, forms: Collection[str]) -> NDArray[np.intp]:
        """Return the columns of these forms, and those that have none."""
        wanted = [-1, *(FORMS.index(form) for form in forms)]
        return np.flatnonzero(np.isin(self._forms, wanted))

    def put(self, columns: NDArray[np.intp], weights: Floats, bias: Floats) -> None:
        """Put weights of these columns (columns, width) and bias (width,) into the linear model."""
        every = np.zeros((self.cells.shape[1], len(bias)))
        every[columns] = weights
        at = 0
        self._wide.bias.copy_(torch.from_numpy(bias))
        for part, used, scales in zip(
            self._wide.parts.values(), self._used, self._scales, strict=True
        ):
            assert isinstance(part, Part)
            fitted = every[at : at + len(used)] * scales[:, None]
            part.weight.zero_()
            part.weight[torch.from_numpy(used)] = torch.from_numpy(fitted).float()
            at += len(used)


def _rarity(block: Any) -> Floats:
    """Inverse document frequency of each column, such that a row's length is 1 in the mean."""
    rows = block.shape[0]
    counts = np.bincount(block.indices, minlength=block.shape[1])
    found = np.log((1 + rows) / (1 + counts))
    lengths = block.multiply(block) @ np.square(found)
    return np.asarray(found / max(1e-6, float(np.sqrt(np.mean(lengths)))))


def names_read(wide: Wide, rows: Rows) -> list[str]:
    """Return the names of the tensors that it reads."""
    read = {key.rpartition("_")[0] for key in wide.parts}
    return [s.name for p in rows.processors if p.name in read for s in p.specs()]
