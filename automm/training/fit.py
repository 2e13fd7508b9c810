"""``fit``: the steps from two tables to a trained model, in order, and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Literal, NamedTuple

import torch
from msgspec import Struct

from automm.config.schema import Config, EnvConfig
from automm.data.datamodule import TrainingData
from automm.data.processing import fit_processors
from automm.data.rows import prepare_rows
from automm.data.samples import calibration_rows, golden_rows
from automm.models.fused import FusedModel
from automm.tasks import find_task
from automm.tasks.base import GRAPH, Task
from automm.training.lightning import Trainer, quiet_lightning
from automm.training.losses import weigh_classes
from automm.training.module import TrainingModule
from automm.training.progress import TrainingProgress
from automm.training.rivals import SHARE_OF_TIME, fit_linear
from automm.training.scoring import Scorer
from automm.training.soup import BestStates, cook
from automm.training.watch import Watch
from automm_export.graph import Graph
from automm_serve.answers import ClassesAnswer
from automm_serve.errors import ConfigError
from automm_serve.pipeline import Pipeline
from automm_serve.schema import Schema
from automm_serve.tensors import CellError, Table
from automm_serve.threads import thread_budget


class FitWarning(UserWarning):
    """Something about a training run that its owner should look at."""


class Goal(Struct, frozen=True):
    """What is to be learned.

    Attributes:
        label: Column to predict.
        problem_type: Entry of ``TASKS``.
        schema: Columns that go in.
        metric: What the best state is chosen by.
        name: Of the model on a server.
        seed: Of weights, shuffling and dropout.
        deadline: By ``time.monotonic``; None for no limit of time.
        shows_progress: Draw a progress bar.
    """

    label: str
    problem_type: str
    schema: Schema
    metric: str
    name: str = "model"
    seed: int = 0
    deadline: float | None = None
    shows_progress: bool = False


class FitSummary(Struct, frozen=True, kw_only=True):
    """How training went.

    Attributes:
        metric: What the best state was chosen by.
        score: Of the model that was kept, on the validation rows.
        trivial: Of the predictor that answers the shares of the classes, or the mean.
        beats_trivial: Whether the first is better than the second.
        linear: Of a linear model (TF-IDF, one-hot, standardised numbers); None where the columns
            are pictures alone.
        linear_rows: Training rows that the linear model learnt from.
        beats_linear: Whether the first is better than the linear model; None where there is none.
        scores: Other metrics on the validation rows.
        history: One entry for each validation.
        stopped: ``max_epochs``, ``patience`` or ``time_limit``.
        souped: Number of states in the average.
        seconds: Of the whole, and of its parts.
        rows: Of training and validation, those left out not counted.
        left_out: Cells for which rows were left out, at most 100 of each table.
    """

    metric: str
    score: float
    trivial: float
    beats_trivial: bool
    scores: dict[str, float]
    history: list[dict[str, float]]
    stopped: str
    souped: int
    seconds: dict[str, float]
    rows: dict[str, int]
    left_out: dict[str, list[CellError]]
    linear: float | None = None
    linear_rows: int = 0
    beats_linear: bool | None = None


class Trained(NamedTuple):
    """What comes out of training.

    Attributes:
        config: Settings that it was trained with.
        pipeline: Everything but the weights.
        model: The weights.
        summary: How training went.
        golden: Some validation rows, gaps among them.
        calibration: Some training rows.
    """

    config: Config
    pipeline: Pipeline
    model: FusedModel
    summary: FitSummary
    golden: Table
    calibration: Table


def fit(goal: Goal, config: Config, train: Table, valid: Table) -> Trained:
    """Train a model.

    Args:
        goal: What is to be learned.
        config: Settings.
        train: Rows to learn from: the columns of the schema as ``conform`` gave them, the label.
        valid: Rows to choose the best state by; the same columns.

    Raises:
        DataError: The label cannot be learned, too many rows are bad, or the loss diverges.
        ConfigError: A checkpoint or an encoder cannot be had, or settings do not fit together.
    """
    task = find_task(goal.problem_type)
    _check_device(config.env)
    progress = TrainingProgress(goal.metric, shown=goal.shows_progress)
    start = monotonic()
    with progress, _seeded(goal.seed), _one_thread_budget():
        answer = task.answer(goal.label, train)
        processors = fit_processors(goal.schema, train, config)
        cache = config.env.cache_mb << 20
        rows, bad = prepare_rows("training data", train, processors, answer, cache)
        valid_rows, bad_valid = prepare_rows("validation data", valid, processors, answer, cache)
        data = TrainingData(
            rows,
            valid_rows,
            size=config.env.per_gpu_batch_size,
            valid_size=config.env.per_gpu_batch_size * config.env.inference_batch_size_ratio,
            modality_dropout=config.data.modality_dropout,
            seed=goal.seed,
        )
        if isinstance(answer, ClassesAnswer):
            config = weigh_classes(config, rows.targets["classes"], len(answer.classes))
        model = task.model(processors, answer, config)
        graphs, programs = task.serve(model, processors, answer)
        pipeline = Pipeline(goal.name, goal.problem_type, goal.schema, processors, programs)
        scorer = Scorer(data, answer, goal.metric)
        golden = golden_rows(valid_rows.table, goal.schema)
        calibration = calibration_rows(rows.table, goal.schema)
        prepared = monotonic()
        watch = _train(task, model, graphs[GRAPH], scorer, config, progress, goal.deadline)
        trained = monotonic()
        progress.say("averaging")
        graph = graphs[GRAPH].cpu().eval()
        method = config.optim.top_k_average_method
        score, souped = cook(watch.best, method, lambda: scorer.score(graph))
        watch.best.close()
        progress.say("a linear model, to compare with")
        budget = SHARE_OF_TIME * (monotonic() - start)
        rival = fit_linear(goal.schema, answer, rows, valid_rows, budget)
        linear = None if rival is None else scorer.of(rival.tensors)
        summary = FitSummary(
            metric=goal.metric,
            score=score,
            trivial=(trivial := scorer.of(scorer.trivial())),
            beats_trivial=scorer.is_better(score, trivial),
            scores=scorer.scores(graph, task.metrics),
            history=watch.history,
            stopped=watch.stopped,
            souped=souped,
            seconds=_seconds(start, prepared, trained, monotonic()),
            rows={"train": len(rows), "valid": len(valid_rows)},
            left_out={"train": bad[:100], "valid": bad_valid[:100]},
            linear=linear,
            linear_rows=0 if rival is None else rival.rows,
            beats_linear=None if linear is None else scorer.is_better(score, linear),
        )
    _warn(summary, len({e.row for e in bad}), len({e.row for e in bad_valid}))
    return Trained(config, pipeline, model, summary, golden, calibration)


def _train(
    task: Task,
    model: FusedModel,
    graph: Graph,
    scorer: Scorer,
    config: Config,
    progress: TrainingProgress,
    deadline: float | None,
) -> Watch:
    """Run the loop; afterwards the model is as the last step left it, the best states beside."""
    env, optim = config.env, config.optim
    best = BestStates(model, optim.top_k, scorer.is_better)
    watch = Watch(graph, scorer, best, optim, progress, deadline)
    module = TrainingModule(task, model, config)
    with quiet_lightning():
        trainer = Trainer(
            accelerator=env.accelerator,
            devices=1,
            precision=_precision(env),
            max_epochs=optim.max_epochs,
            max_steps=optim.max_steps,
            accumulate_grad_batches=max(1, env.batch_size // env.per_gpu_batch_size),
            gradient_clip_val=optim.gradient_clip_val or None,
            gradient_clip_algorithm=optim.gradient_clip_algorithm,
            deterministic=env.deterministic or None,
            callbacks=[watch],
            limit_val_batches=0,  # the callback validates, by the graph that is served
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, datamodule=scorer.data)
    return watch


def _check_device(env: EnvConfig) -> None:
    if env.accelerator == "gpu" and not (
        torch.cuda.is_available() or torch.backends.mps.is_available()
    ):
        raise ConfigError(
            where="hyperparameter 'env.accelerator' (--device)",
            what="there is no GPU that this torch can use",
            mend="Pass 'auto' or 'cpu', or install a torch for your GPU",
        )


def _precision(env: EnvConfig) -> Literal["32-true", "16-mixed", "bf16-mixed"]:
    """Mixed precision where the device has it; a CPU computes in 32 bits."""
    if env.precision == "32" or env.accelerator == "cpu" or not torch.cuda.is_available():
        return "32-true"
    return env.precision


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch for the block, and put its state back: a library must not seed its caller."""
    devices: Sequence[int] = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        yield


@contextmanager
def _one_thread_budget() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(thread_budget())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(start: float, prepared: float, trained: float, end: float) -> dict[str, float]:
    parts = {
        "prepare": prepared - start,
        "train": trained - prepared,
        "average": end - trained,
        "all": end - start,
    }
    return {name: round(seconds, 2) for name, seconds in parts.items()}


def _warn(summary: FitSummary, bad: int, bad_valid: int) -> None:
    """Say what the owner of the run must not overlook."""
    if bad or bad_valid:
        first = next(cell for cells in summary.left_out.values() for cell in cells)
        warnings.warn(
            f"{bad} training and {bad_valid} validation rows are left out, because a cell cannot "
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
