"""Lightning's trainer, set up for a run, and the run itself."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from automm.config.schema import Config
from automm.data.datamodule import Step, TrainingData
from automm.training import devices
from automm.training.devices import Devices, build_strategy, precision_of
from automm.training.distill import Distiller
from automm.training.lightning import Callback, LightningModule, Trainer, quiet_lightning
from automm.training.logs import Journal, build_loggers, live_folder
from automm.training.memory import checkpointing
from automm.training.module import TrainingModule
from automm.training.recorder import (
    history_of,
    restore_beside,
    restore_best,
    restore_optimizer,
    restore_weights,
)
from automm.training.resume import Progress
from automm.training.watch import Means, Watch


def train(
    module: TrainingModule, means: Means, config: Config, where: Devices, resumed: Progress | None
) -> Watch:
    """Train, or go on.

    Afterwards the model is as the last step left it, and the best states lie beside.

    Args:
        module: Has the model and the data.
        means: What is worked with.
        config: Settings.
        where: Devices.
        resumed: What an earlier run has left; None begins anew.

    Raises:
        DataError: Memory runs out at one row.
        BundleError: What is resumed is damaged.
    """
    data = module.data
    if resumed is not None:
        data.at, data.size_now = resumed.step, resumed.size
    watch = Watch(means, config.optim)
    callbacks: list[Callback] = [watch, _Seeds(data)]
    if resumed is not None:
        assert means.recorder is not None
        watch.history, watch.since_best = history_of(resumed), resumed.since_best
        module.notes = list(resumed.notes)
        for validation in watch.history:
            watch.tell(validation)
        restore_best(means.recorder.folder, resumed, means.best)
        restore_weights(means.recorder.folder, resumed, means.best)
        callbacks.append(_Restore(means, resumed, module.distiller))
        if resumed.since_best >= config.optim.patience:  # killed while it averaged
            watch.stopped, data.at = "patience", data.last
    if data.at >= data.last and watch.history:
        return watch
    logs: list[Any] = []
    if config.env.loggers and means.recorder is not None:
        logs = build_loggers(config.env.loggers, live_folder(means.recorder.folder.parent))
        optim = config.optim
        norms = optim.track_grad_norm != -1
        every = optim.log_every_n_steps
        callbacks.append(Journal(module, watch.history, every, norms=norms))
    with quiet_lightning(), checkpointing(module.model, config):
        trainer = Trainer(
            accelerator=where.accelerator,
            devices=where.per_node,
            num_nodes=where.nodes,
            strategy=build_strategy(where, config.env, config.optim),
            precision=precision_of(config.env, where),
            max_epochs=1,  # for Lightning all epochs are one; see Step
            deterministic=config.env.deterministic or None,
            callbacks=callbacks,
            limit_val_batches=0,  # the callback validates, by the graph that is served
            use_distributed_sampler=False,  # the module takes its share of each step
            logger=logs or False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, datamodule=data)
    return watch


class _Seeds(Callback):
    """Lets the processes drop out other numbers than each other."""

    def __init__(self, data: TrainingData) -> None:
        self.data = data

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed every process but the first, which goes on as if it were alone."""
        if devices.rank():
            torch.manual_seed(self.data.seed + devices.rank() + 7919 * self.data.at)


class _Restore(Callback):
    """Puts optimiser, schedule, scaler and random generators back before the first step."""

    def __init__(self, means: Means, progress: Progress, distiller: Distiller | None) -> None:
        self.means = means
        self.progress = progress
        self.distiller = distiller
        self._done = False

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Step, batch_idx: int
    ) -> None:
        """Do it, once: Lightning itself draws numbers until here."""
        if self._done or self.means.recorder is None:
            return
        self._done = True
        seed = torch.get_rng_state()
        schedule = trainer.lr_scheduler_configs[0].scheduler
        assert isinstance(schedule, LambdaLR)
        folder = self.means.recorder.folder
        restore_optimizer(folder, self.progress, trainer.optimizers[0], schedule)
        if self.distiller is not None:
            restore_beside(folder, self.progress, self.distiller)
        if self.progress.scaler:
            trainer.precision_plugin.load_state_dict(self.progress.scaler)
        if devices.rank():
            torch.set_rng_state(seed)  # it has one of its own
