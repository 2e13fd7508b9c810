"""Lightning as it is used here: importable on a CPU torch, and without its chatter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from automm.models.encoders.torchvision_stub import declare_missing_operators

declare_missing_operators()  # Lightning imports torchmetrics, and that imports torchvision

from lightning.pytorch import (  # noqa: E402
    Callback,
    LightningDataModule,
    LightningModule,
    Trainer,
    strategies,
)
from lightning.pytorch.core.optimizer import LightningOptimizer  # noqa: E402

__all__ = [
    "Callback",
    "LightningDataModule",
    "LightningModule",
    "LightningOptimizer",
    "Trainer",
    "quiet_lightning",
    "strategies",
]

_LOGGERS = (
    "lightning.pytorch",
    "lightning.fabric",
    "lightning.pytorch.utilities.rank_zero",
    "lightning.pytorch.accelerators.cuda",
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence its tips and advice while the block runs; the levels are put back behind it."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            warnings.filterwarnings("ignore", message=r".*lightning.*")
            # Schedules are stepped by Lightning, which in mixed precision may skip a first step.
            warnings.filterwarnings("ignore", message=r".*lr_scheduler\.step\(\).*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
