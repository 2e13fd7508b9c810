"""What a fit says to its owner: why training ended, and what must not be overlooked."""

from __future__ import annotations

import warnings

import torch

from automm.config.schema import Config
from automm.data.samples import TUNING, TUNING_BYTES
from automm.training.module import TrainingModule
from automm.training.outcome import FitSummary, FitWarning
from automm.training.prepare import POSITION, Prepared
from automm.training.watch import Means, Watch
from automm_serve.errors import DataError

_LISTED = 20


def explain(watch: Watch, module: TrainingModule, means: Means, ready: Prepared) -> list[str]:
    """Say why training ended where it did not end by itself.

    Raises:
        DataError: The loss is not finite, and no good weights are left.
    """
    if watch.stopped == "interrupted":
        heard = means.interrupts.heard or "a signal to another process"
        return [f"INTERRUPTED by {heard}: the best state so far is kept and saved"]
    broken = module.broken
    if broken is None:
        return []
    positions = ready.rows.table[POSITION]
    rows = [int(str(positions[row])) for row in broken.rows]
    listed = ", ".join(map(str, sorted(rows)[:_LISTED])) + (", …" if len(rows) > _LISTED else "")
    what = f"{broken.what} in a batch of the rows {listed}"
    mend = "Lower optim.lr, or look for extreme numbers in those rows"
    good = broken.step > 0 and all(
        bool(torch.isfinite(t).all()) for t in means.best.load(0).values() if t.is_floating_point()
    )
    if not good:
        raise DataError(where=f"training, step {broken.step}", what=what, mend=mend)
    return [
        f"TRAINING STOPPED at step {broken.step}: {what}. {mend}; the last good weights are kept"
    ]


def untouched(name: str, config: Config) -> str:
    """Return what is to be said of an encoder of whom nothing trains."""
    return (
        f"{name} is frozen: optim.peft={config.optim.peft} adapts linear layers, and none of its "
        "has a name of optim.lora.filter"
    )


def warn_of_few(kept: int, valid: int) -> None:
    """Say that an export will measure on fewer rows than it should."""
    if kept < min(valid, TUNING):
        warnings.warn(
            f"{kept} of {valid} validation rows are kept to measure precisions on, because their "
            f"pictures are large ({TUNING_BYTES:,} bytes at most); give more to the export "
            "with --tuning-data",
            FitWarning,
            stacklevel=4,
        )


def warn(summary: FitSummary, bad: list[int]) -> None:
    """Say what the owner of the run must not overlook."""
    for note in summary.notes:
        if not note.startswith("memory"):  # that was said at once
            warnings.warn(note, FitWarning, stacklevel=4)
    if any(bad):
        first = next(cell for cells in summary.left_out.values() for cell in cells)
        warnings.warn(
            f"{bad[0]} training and {bad[1]} validation rows are left out, because a cell cannot "
            f"be read (first: row {first.row}, column {first.column!r}: {first.what}); "
            "fit_summary() lists them",
            FitWarning,
            stacklevel=4,
        )
    if not summary.beats_trivial:
        warnings.warn(
            f"THE MODEL HAS LEARNED NOTHING THAT SHOWS: its {summary.metric} is "
            f"{summary.score:.4f}, that of the trivial predictor {summary.trivial:.4f}. "
            "Look at the columns (automm info), train longer, or change optim.lr",
            FitWarning,
            stacklevel=4,
        )
    elif summary.beats_linear is False:
        warnings.warn(
            f"A LINEAR MODEL IS AS GOOD: its {summary.metric} is {summary.linear:.4f}, that of the "
            f"trained one {summary.score:.4f}. Train longer (optim.max_epochs), on more rows, or "
            "with a larger preset; or take the linear model, which costs less",
            FitWarning,
            stacklevel=4,
        )
