"""Which rows are kept out of training to choose the best state by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from automm_serve.cells import category_key, is_gap
from automm_serve.errors import ConfigError, DataError


def holdout_fraction(rows: int) -> float:
    """Return AutoGluon's share of rows to hold out: 500 rows, or 2,500 of large tables."""
    if rows < 5000:
        return max(0.1, min(0.2, 500 / rows))
    return max(0.01, min(0.1, 2500 / rows))


def split_rows(
    label: Sequence[object], fraction: float | None, seed: int, *, stratify: bool
) -> tuple[list[int], list[int]]:
    """Return the positions of the rows to train on and of those held out, each ascending.

    Args:
        label: Cells of the label.
        fraction: Share to hold out; AutoGluon's rule where None.
        seed: Equal seeds give equal splits.
        stratify: Hold out the same share of each class; a class of one row stays in training.

    Raises:
        ConfigError: The fraction is not between 0 and 1.
        DataError: There are too few rows to hold one out.
    """
    rows = len(label)
    if fraction is not None and not 0 < fraction < 1:
        raise ConfigError(
            where="holdout_frac",
            what=f"{fraction} is not between 0 and 1",
            mend="Pass a share such as 0.1, or tuning_data",
        )
    if rows < 4:
        raise DataError(
            where="training data",
            what=f"{rows} rows cannot be split",
            mend="Pass more rows, or tuning_data",
        )
    share = holdout_fraction(rows) if fraction is None else fraction
    held = _hold(label, share, seed, stratify=stratify)
    if not held:  # every class has one row: then any row will do
        generator = np.random.default_rng(seed)
        held = generator.permutation(rows)[: max(1, int(share * rows))].tolist()
    chosen = set(held)
    return [row for row in range(rows) if row not in chosen], sorted(held)


def choose_rows(label: Sequence[object], most: int, seed: int, *, stratify: bool) -> list[int]:
    """Return the positions of at most so many rows, ascending, the same share of each class.

    Raises:
        ConfigError: Not even one row may be chosen.
    """
    if most < 1:
        raise ConfigError(
            where="max_num_tuning_data", what=f"{most} rows are none", mend="Pass 1 or more"
        )
    rows = len(label)
    if rows <= most:
        return list(range(rows))
    held = _hold(label, most / rows, seed, stratify=stratify, whole=True)[:most]
    return sorted(held)


def _hold(
    label: Sequence[object], share: float, seed: int, *, stratify: bool, whole: bool = False
) -> list[int]:
    """Choose a share of the rows of each class; but for ``whole``, one of each is left."""
    generator = np.random.default_rng(seed)
    groups = _groups(label) if stratify else [list(range(len(label)))]
    held: list[int] = []
    owed = 0.0  # what rounding has left over, so that many small classes give their share too
    for members in groups:
        owed += share * len(members)
        count = min(int(owed + 0.5), len(members) - (not whole))
        owed -= count
        held += generator.permutation(members)[:count].tolist()
    return held


def _groups(label: Sequence[object]) -> list[list[int]]:
    """Rows of each class; those without a readable label, which training leaves out, together."""
    groups: dict[str | None, list[int]] = defaultdict(list)
    for row, cell in enumerate(label):
        try:
            groups[None if is_gap(cell) else category_key(cell)].append(row)
        except ValueError:
            groups[None].append(row)
    return list(groups.values())
