"""The course of training: as CSV, and told to the loggers of Lightning."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from automm.training import logs
from automm.training.logs import Journal, build_loggers, course_as_csv, live_folder, move_logs
from automm_serve.errors import MissingDependencyError


def test_the_course_is_a_table_with_gaps_where_there_is_no_number():
    history = [{"epoch": 0.5, "step": 3, "loss": 1.5, "auc": float("nan")}, {"epoch": 1.0}]
    assert course_as_csv(history) == b"epoch,step,loss,auc\n0.5,3,1.5,\n1.0,,,\n"


class Told:
    def __init__(self):
        self.entries = []

    def log_metrics(self, values, step):
        self.entries.append((step, values))


def test_loggers_are_told_losses_every_few_steps_and_each_validation_once():
    told, history = Told(), [{"epoch": 0.1, "auc": 0.1}]  # of a run that is gone on with
    trainer: Any = SimpleNamespace(
        loggers=[told], optimizers=[SimpleNamespace(param_groups=[{"lr": 0.25}])]
    )
    module: Any = SimpleNamespace(last_loss=2.0, last_norm=3.0, data=SimpleNamespace(at=4))
    journal = Journal(module, history, 2, norms=True)
    for number in range(4):
        step: Any = SimpleNamespace(number=number)
        if number == 2:
            history.append({"epoch": 1.0, "step": 3, "loss": 2.0, "auc": 0.5})
        journal.on_train_batch_end(trainer, module, None, step, 0)
    history.append({"epoch": 2.0, "step": 4, "loss": 1.0, "auc": 0.6})
    journal.on_train_end(trainer, module)
    losses = {"loss": 2.0, "lr": 0.25, "grad_norm": 3.0}
    assert told.entries == [
        (2, losses),
        (3, {"epoch": 1.0, "auc": 0.5}),
        (4, losses),
        (4, {"epoch": 2.0, "auc": 0.6}),
    ]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_logger_that_is_not_installed_is_refused_with_the_command(name, monkeypatch, tmp_path):
    monkeypatch.setattr(logs, "find_spec", lambda package: None)
    with pytest.raises(MissingDependencyError, match=rf"pip install {name}"):
        build_loggers((name,), tmp_path)


def test_the_names_are_lightning_s_loggers(monkeypatch, tmp_path):
    made: dict[str, tuple[Any, Any]] = {}

    def maker(kind):
        return lambda *given, **more: made.setdefault(kind, (given, more))

    fakes = {kind: maker(kind) for kind in ("TensorBoardLogger", "MLFlowLogger", "WandbLogger")}
    import lightning.pytorch

    monkeypatch.setattr(logs, "find_spec", lambda package: True)
    monkeypatch.setattr(lightning.pytorch, "loggers", SimpleNamespace(**fakes), raising=False)
    monkeypatch.setitem(sys.modules, "lightning.pytorch.loggers", SimpleNamespace(**fakes))
    assert len(build_loggers(("tensorboard", "mlflow", "wandb"), tmp_path)) == 3
    assert made["TensorBoardLogger"][0] == (tmp_path,)
    assert made["WandbLogger"][1] == {"project": "automm-edge", "save_dir": tmp_path}


def test_what_loggers_wrote_moves_into_the_predictor(tmp_path):
    path = tmp_path / "predictor"
    (path / "logs").mkdir(parents=True)
    live = live_folder(path)
    (live / "tensorboard").mkdir(parents=True)
    (live / "tensorboard" / "events").write_text("x")
    move_logs(path)
    assert (path / "logs" / "tensorboard" / "events").read_text() == "x"
    assert not live.exists()
    move_logs(path)  # nothing there: nothing to do
