"""The course of training as others read it: CSV in the predictor, and Lightning's own loggers.

``logs/metrics.csv`` is written with every predictor, from its summary. What ``env.loggers`` names
is written while training runs, to ``<path>.logs`` beside the predictor's folder, and moved into its
``logs`` when the predictor is saved.
"""

from __future__ import annotations

import csv
import io
import math
import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from automm.data.datamodule import Step
from automm.training.lightning import Callback, LightningModule, Trainer
from automm.training.module import TrainingModule
from automm_serve.errors import MissingDependencyError

FOLDER = "logs"
"""Below the predictor's path."""

PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
"""Name in ``env.loggers`` -> the package that it needs."""

PROJECT = "automm-edge"
"""Experiment of MLflow, project of Weights & Biases."""


def live_folder(path: Path) -> Path:
    """Return where loggers write while the fit runs whose predictor will be ``path``."""
    return path.with_name(f"{path.name}.{FOLDER}")


def check_loggers(names: Sequence[str]) -> None:
    """Refuse a logger whose package is not there, before time is spent.

    Raises:
        MissingDependencyError: It is not installed.
    """
    for name in names:
        package = PACKAGES[name]
        others = ["tensorboardX"] if name == "tensorboard" else []
        if not any(find_spec(one) for one in (package, *others)):
            raise MissingDependencyError(
                where=f"hyperparameter 'env.loggers', {name!r}",
                what=f"the package {package!r} is not installed",
                mend="Install it with",
                command=f"pip install {package}",
            )


def build_loggers(names: Sequence[str], folder: Path) -> list[Any]:
    """Return Lightning's loggers.

    Args:
        names: Of ``PACKAGES``.
        folder: To write to; MLflow and Weights & Biases go by their own variables of the
            environment where these are set.

    Raises:
        MissingDependencyError: A package is not installed.
    """
    check_loggers(names)
    if not names:
        return []
    from lightning.pytorch import loggers  # behind ours, which makes it importable

    makers: dict[str, Any] = {
        "tensorboard": lambda: loggers.TensorBoardLogger(folder, name="", version="tensorboard"),
        "mlflow": lambda: loggers.MLFlowLogger(PROJECT, save_dir=str(folder / "mlflow")),
        "wandb": lambda: loggers.WandbLogger(project=PROJECT, save_dir=folder),
    }
    return [makers[name]() for name in names]


class Journal(Callback):
    """Tells the loggers the loss and the rate, every few steps, and each validation.

    Args:
        module: What is trained.
        history: The list that ``Watch`` fills; this callback stands behind it.
        every: Steps between two entries.
        norms: Tell the norm of the gradients too.
    """

    def __init__(
        self, module: TrainingModule, history: list[dict[str, float]], every: int, *, norms: bool
    ) -> None:
        self.module = module
        self.history = history
        self.every = every
        self.norms = norms
        self._told = len(history)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Step,
        batch_idx: int,
    ) -> None:
        """Tell what there is to tell."""
        done = batch.number + 1
        loss = self.module.last_loss
        if done % self.every == 0 and loss is not None:
            rate = trainer.optimizers[0].param_groups[-1]["lr"]
            values = {"loss": loss, "lr": float(rate)}
            if self.norms and self.module.last_norm is not None:
                values["grad_norm"] = float(self.module.last_norm)
            self._tell(trainer, values, done)
        self._tell_validations(trainer, done)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the last validation."""
        self._tell_validations(trainer, self.module.data.at)

    def _tell_validations(self, trainer: Trainer, done: int) -> None:
        for entry in self.history[self._told :]:
            values = {key: value for key, value in entry.items() if key not in ("step", "loss")}
            self._tell(trainer, values, int(entry.get("step", done)))
        self._told = len(self.history)

    def _tell(self, trainer: Trainer, values: Mapping[str, float], step: int) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(dict(values), step)


def move_logs(path: Path) -> None:
    """Move what loggers wrote into the predictor's folder."""
    live = live_folder(path)
    if not live.is_dir():
        return
    target = path / FOLDER
    target.mkdir(exist_ok=True)
    for found in sorted(live.iterdir()):
        if not (target / found.name).exists():
            shutil.move(found, target / found.name)
    shutil.rmtree(live, ignore_errors=True)


def course_as_csv(history: Sequence[Mapping[str, float]]) -> bytes:
    """Return the validations of a fit as CSV: ``epoch``, ``step``, ``loss`` and the metric."""
    names = list(dict.fromkeys(name for entry in history for name in entry))
    buffer = io.StringIO()
    lines = csv.writer(buffer, lineterminator="\n")
    lines.writerow(names)
    for entry in history:
        cells = [entry.get(name) for name in names]
        lines.writerow(["" if cell is None or math.isnan(cell) else cell for cell in cells])
    return buffer.getvalue().encode()
