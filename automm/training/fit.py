"""``fit``: the steps from two tables to a trained predictor, in order, and nothing else."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple

import torch

from automm.config.schema import Config
from automm.data.datamodule import TrainingData
from automm.data.gaps import drop_rows_without_pictures
from automm.data.processing import fit_processors
from automm.data.rows import Rows, prepare_rows
from automm.data.samples import (
    TUNING,
    TUNING_BYTES,
    calibration_rows,
    golden_rows,
    tuning_rows,
)
from automm.models.encoders import options_of
from automm.models.encoders.base import Encoder
from automm.models.fused import FusedModel
from automm.tasks import find_task
from automm.tasks.base import GRAPH, Task
from automm.training import devices, resume
from automm.training.augment import read_augmentation
from automm.training.clock import Clock
from automm.training.devices import find_devices
from automm.training.interrupts import Interrupts
from automm.training.loop import train as run_loop
from automm.training.losses import weigh_classes
from automm.training.module import TrainingModule
from automm.training.outcome import Course, FitSummary, FitWarning, Goal, Trained
from automm.training.peft import adapt, check_peft, merge
from automm.training.progress import TrainingProgress
from automm.training.rivals import SHARE_OF_TIME, Rival, fit_linear
from automm.training.scoring import Scorer
from automm.training.soup import BestStates, cook
from automm.training.watch import Means, Watch
from automm_export.graph import Graph
from automm_serve.answers import AnyAnswer, ClassesAnswer
from automm_serve.errors import DataError
from automm_serve.pipeline import Pipeline
from automm_serve.tensors import CellError, FileTable, Table, count_rows
from automm_serve.threads import thread_budget

__all__ = ["Course", "FitSummary", "FitWarning", "Goal", "Trained", "fit"]

_POSITION = "\0position"  # no column of a table can be called that
_LISTED = 20


class Prepared(NamedTuple):
    """Tables as tensors, and the model that is to learn from them.

    Attributes:
        config: With what follows from the rows put in.
        rows: To learn from.
        valid: To choose the best state by.
        left_out: Cells for which rows of the two were left out.
        skipped: Rows without a picture, where they are left out.
        answer: Codec of the label.
        model: Not trained yet.
        graph: What is served of it.
        pipeline: Everything but the weights.
        data: Steps and batches.
        scorer: Of the graph.
    """

    config: Config
    rows: Rows
    valid: Rows
    left_out: dict[str, list[CellError]]
    skipped: int
    answer: AnyAnswer
    model: FusedModel
    graph: Graph
    pipeline: Pipeline
    data: TrainingData
    scorer: Scorer


_NEW = Course()


def fit(goal: Goal, config: Config, train: Table, valid: Table, course: Course = _NEW) -> Trained:
    """Train a model.

    Where several processes train, each of them comes back with the same weights.

    Args:
        goal: What is to be learned.
        config: Settings.
        train: Rows to learn from: the columns of the schema as ``conform`` gave them, the label.
        valid: Rows to choose the best state by; the same columns.
        course: What there is to begin from, and where the course of it is kept.

    Raises:
        DataError: The label cannot be learned, too many rows are bad, or nothing is learnt before
            the loss diverges.
        ConfigError: A checkpoint or an encoder cannot be had, or settings do not fit together.
        BundleError: What is to be resumed is damaged.
    """
    task, start = find_task(goal.problem_type), monotonic()
    where = find_devices(config.env)
    check_peft(config.optim)
    shown = goal.shows_progress and devices.is_main()
    progress = TrainingProgress(goal.metric, shown=shown)
    with progress, _seeded(goal.seed), _one_thread_budget():
        ready = _prepare(task, goal, config, train, valid, course, where.world)
        trainable = {n: p.requires_grad for n, p in ready.model.named_parameters()}
        notes = [_untouched(name, config) for name in adapt(ready.model, config.optim)]
        moved = sum(p.numel() for p in ready.model.parameters() if p.requires_grad)
        graph = copy.deepcopy(ready.graph) if where.shards else ready.graph
        model = _model_of(graph)
        clock = Clock(
            goal.deadline, rival_share=SHARE_OF_TIME, begun=start, bytes_trained=4 * moved
        )
        best = BestStates(model, config.optim.top_k, ready.scorer.is_better, course.folder)
        recorder = resumed = None
        if course.folder is not None and course.request is not None and not where.shards:
            recorder = resume.Recorder(course.folder, course.request, config, course.write_start)
            resumed = course.resumed.progress if course.resumed else None
        prepared = monotonic()
        with Interrupts() as interrupts:
            means = Means(
                graph, ready.scorer, best, clock, interrupts, progress, recorder, where.shards
            )
            module = TrainingModule(task, ready.model, ready.config, ready.data)
            watch = run_loop(module, means, ready.config, where, resumed)
            notes += module.notes + _explain(watch, module, means, ready)
            trained = monotonic()
            progress.say("averaging")
            graph.cpu().eval()
            merge(model, best)
            score, souped = _average(means, ready.config)
            best.close()
            progress.say("a linear model, to compare with")
            rival = _compare(goal, ready, means)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(trainable.get(name, True))
        linear = None if rival is None else ready.scorer.of(rival.tensors)
        summary = FitSummary(
            metric=goal.metric,
            score=score,
            trivial=(trivial := ready.scorer.of(ready.scorer.trivial())),
            beats_trivial=ready.scorer.is_better(score, trivial),
            scores=ready.scorer.scores(graph, task.metrics),
            history=watch.history,
            stopped=watch.stopped,
            souped=souped,
            seconds=_seconds(start, prepared, trained, monotonic()),
            rows={
                "train": len(ready.rows),
                "valid": len(ready.valid),
                "without_picture": ready.skipped,
            },
            left_out={name: cells[:100] for name, cells in ready.left_out.items()},
            linear=linear,
            linear_rows=0 if rival is None else rival.rows,
            beats_linear=None if linear is None else ready.scorer.is_better(score, linear),
            trained_weights=moved,
            notes=tuple(notes),
        )
        golden = golden_rows(ready.valid.table, goal.schema)
        calibration = calibration_rows(ready.rows.table, goal.schema)
        tuning = tuning_rows(ready.valid.table, goal.schema, goal.label)
    if devices.is_main():
        _warn(summary, [len({e.row for e in cells}) for cells in ready.left_out.values()])
        _warn_of_few(count_rows(tuning), len(ready.valid))
    return Trained(ready.config, ready.pipeline, model, summary, golden, calibration, tuning)


def _prepare(
    task: Task, goal: Goal, config: Config, train: Table, valid: Table, course: Course, world: int
) -> Prepared:
    """Fit the processors, read every cell, build the model; or take those of an earlier fit."""
    train, skipped = drop_rows_without_pictures(
        _numbered(train, course.positions), goal.schema, config.data
    )
    if course.start is None:
        answer = task.answer(goal.label, train, config.data)
        processors = fit_processors(goal.schema, train, config)
    else:
        answer = course.start.pipeline.programs["predict"].answer
        processors = course.start.pipeline.processors
    augmentation = read_augmentation(config, processors, answer)
    cache = config.env.cache_mb << 20
    rows, bad = prepare_rows("training data", train, processors, answer, cache)
    valid_rows, bad_valid = prepare_rows("validation data", valid, processors, answer, cache)
    if isinstance(answer, ClassesAnswer):
        config = weigh_classes(config, rows.targets["classes"], len(answer.classes))
    size = config.env.per_gpu_batch_size
    data = TrainingData(
        rows,
        valid_rows,
        size=size,
        valid_size=size * config.env.inference_batch_size_ratio,
        batch_size=max(config.env.batch_size, size * world),
        epochs=config.optim.max_epochs,
        max_steps=config.optim.max_steps,
        augmentation=augmentation,
        seed=goal.seed,
    )
    if course.start is None:
        model = task.model(processors, answer, config)
    else:
        model = _continued(course.start, config)
    graphs, programs = task.serve(model, processors, answer)
    return Prepared(
        config,
        rows,
        valid_rows,
        {"train": bad, "valid": bad_valid},
        skipped,
        answer,
        model,
        graphs[GRAPH],
        Pipeline(goal.name, goal.problem_type, goal.schema, processors, programs),
        data,
        Scorer(data, answer, goal.metric, goal.own_metric),
    )


def _continued(start: Trained, config: Config) -> FusedModel:
    """A copy of what was learnt; how many blocks are frozen may have changed."""
    model = copy.deepcopy(start.model)
    for name, encoder in model.encoders.items():
        assert isinstance(encoder, Encoder)
        wanted = options_of(config, name).frozen_blocks
        for block in encoder.blocks[wanted : encoder.frozen]:
            block.requires_grad_(True)
        encoder.freeze(wanted)
    return model.train()


def _numbered(table: Table, positions: Sequence[int] | None) -> Table:
    """The table with the positions of its rows, so that a row is named by the user's count."""
    numbers = list(range(count_rows(table))) if positions is None else list(positions)
    untyped = bool(getattr(table, "untyped", False))
    columns: dict[str, list[object]] = {name: list(cells) for name, cells in table.items()}
    return FileTable({**columns, _POSITION: list(numbers)}, None, untyped)


def _model_of(graph: Graph) -> FusedModel:
    model = graph.model
    assert isinstance(model, FusedModel)
    return model


def _average(means: Means, config: Config) -> tuple[float, int]:
    """Average the best states in the first process, and give the others what came out."""
    found = (math.nan, 0)
    if devices.is_main():
        found = cook(
            means.best,
            config.optim.top_k_average_method,
            lambda: means.scorer.score(means.graph),
            # One for this average, one for the scores of what is kept.
            lambda: means.interrupts.heard is None and means.clock.allows(2),
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    score, souped = devices.share([float(found[0]), float(found[1])], device)
    devices.share_weights(means.best.model)
    return score, int(souped)


def _compare(goal: Goal, ready: Prepared, means: Means) -> Rival | None:
    """Fit the linear model, where there is time for it and nobody waits for the end."""
    budget = means.clock.rival_budget()
    if not devices.is_main() or means.interrupts.heard or not budget:
        return None
    return fit_linear(goal.schema, ready.answer, ready.rows, ready.valid, budget)


def _explain(watch: Watch, module: TrainingModule, means: Means, ready: Prepared) -> list[str]:
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
    positions = ready.rows.table[_POSITION]
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


def _untouched(name: str, config: Config) -> str:
    return (
        f"{name} is frozen: optim.peft={config.optim.peft} adapts linear layers, and none of its "
        "has a name of optim.lora.filter"
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch for the block, and put its state back: a library must not seed its caller."""
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
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


def _warn_of_few(kept: int, valid: int) -> None:
    """Say that an export will measure on fewer rows than it should."""
    if kept < min(valid, TUNING):
        warnings.warn(
            f"{kept} of {valid} validation rows are kept to measure precisions on, because their "
            f"pictures are large ({TUNING_BYTES:,} bytes at most); give more to the export "
            "with --tuning-data",
            FitWarning,
            stacklevel=4,
        )


def _warn(summary: FitSummary, bad: list[int]) -> None:
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
