"""``fit``: the steps from two tables to a trained predictor, in order, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import torch

from automm.config.schema import Config
from automm.data.samples import calibration_rows, golden_rows, tuning_rows
from automm.models.fused import FusedModel
from automm.tasks import find_task
from automm.training import devices
from automm.training.calibrate import Calibrated, at_its_best, calibrate, trivial_score
from automm.training.clock import Clock
from automm.training.devices import device_of, find_devices
from automm.training.frozen import asked_once
from automm.training.interrupts import Interrupts
from automm.training.loop import train as run_loop
from automm.training.module import TrainingModule
from automm.training.outcome import Course, FitSummary, FitWarning, Goal, Trained
from automm.training.peft import adapt, check_peft, merge
from automm.training.prepare import Prepared, prepare
from automm.training.progress import TrainingProgress
from automm.training.recorder import Recorder
from automm.training.remarks import explain, untouched, warn, warn_of_few
from automm.training.rivals import SHARE_OF_TIME, Rival, fit_linear
from automm.training.scoring import Scorer, is_finite
from automm.training.soup import BestStates, cook
from automm.training.watch import Means
from automm.training.wide import settle_share
from automm_export.graph import Graph
from automm_serve.errors import DataError
from automm_serve.pipeline import with_threshold
from automm_serve.tensors import Table, count_rows
from automm_serve.threads import thread_budget

__all__ = ["Course", "FitSummary", "FitWarning", "Goal", "Trained", "fit"]

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
        if goal.teacher is not None:
            progress.say("asking the teacher")
        ready = prepare(task, goal, config, train, valid, course, where)
        trainable = {n: p.requires_grad for n, p in ready.model.named_parameters()}
        notes = [untouched(name, config) for name in adapt(ready.model, config.optim)]
        moved = sum(p.numel() for p in ready.model.parameters() if p.requires_grad)
        graph = copy.deepcopy(ready.graph) if where.shards else ready.graph
        model = _model_of(graph)
        clock = Clock(
            goal.deadline, rival_share=SHARE_OF_TIME, begun=start, size_bytes=_size(ready.model)
        )
        best = BestStates(model, config.optim.top_k, ready.scorer.is_better, course.folder)
        recorder = resumed = None
        if course.folder is not None and course.request is not None and not where.shards:
            recorder = Recorder(course.folder, course.request, config, course.write_start)
            resumed = course.resumed.progress if course.resumed else None
        once = asked_once(
            ready.model,
            ready.rows,
            ready.valid,
            ready.data.augmentation,
            device=device_of(where),
            most_bytes=0 if where.shards else config.env.cache_mb << 20,
            deadline=goal.deadline,
        )
        prepared = monotonic()
        progress.say("asking frozen blocks")
        with once, Interrupts() as interrupts:
            means = Means(
                graph, ready.scorer, best, clock, interrupts, progress, recorder, where.shards,
                course.listener,
            )  # fmt: skip
            module = TrainingModule(task, ready.model, ready.config, ready.data, ready.distiller)
            watch = run_loop(module, means, ready.config, where, resumed)
            notes += module.notes + explain(watch, module, means, ready)
            trained = monotonic()
            progress.say("averaging")
            graph.cpu().eval()
            merge(model, best)
            souped = _average(means, ready.config)
            best.close()
            progress.say("a linear model, to compare with")
            rival = _compare(goal, ready, means)
            scorer, found = _calibrate(goal, ready, graph)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(trainable.get(name, True))
        score = at_its_best(ready.scorer, found.tensors, found.decision).of(found.tensors)
        linear = None
        if rival is not None:
            linear = at_its_best(ready.scorer, rival.tensors, found.decision).of(rival.tensors)
        pipeline = ready.pipeline
        if found.decision is not None:
            pipeline = with_threshold(pipeline, found.decision.threshold)
        summary = FitSummary(
            metric=goal.metric,
            score=score,
            trivial=(trivial := trivial_score(ready.scorer, found.decision)),
            beats_trivial=ready.scorer.is_better(score, trivial),
            scores={name: scorer.of(found.tensors, name) for name in task.metrics},
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
            temperature=found.temperature,
            decision=found.decision,
            network_share=None if model.wide is None else round(float(model.wide.share), 2),
        )
        golden = golden_rows(ready.valid.table, goal.schema)
        calibration = calibration_rows(ready.rows.table, goal.schema)
        tuning = tuning_rows(ready.valid.table, goal.schema, goal.label)
    if devices.is_main():
        warn(summary, [len({e.row for e in cells}) for cells in ready.left_out.values()])
        warn_of_few(count_rows(tuning), len(ready.valid))
    return Trained(ready.config, pipeline, model, summary, golden, calibration, tuning)


def _size(model: FusedModel) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())


def _model_of(graph: Graph) -> FusedModel:
    model = graph.model
    assert isinstance(model, FusedModel)
    return model


def _average(means: Means, config: Config) -> int:
    """Average the best states in the first process, and give the others what came out."""
    souped = 0
    if devices.is_main():
        _, souped = cook(
            means.best,
            config.optim.top_k_average_method,
            lambda: means.scorer.score(means.graph),
            # One for this average, one for the scores of what is kept.
            lambda: means.interrupts.heard is None and means.clock.allows(2),
        )
    (shared,) = devices.share([float(souped)])
    devices.share_weights(means.best.model)
    return int(shared)


def _calibrate(goal: Goal, ready: Prepared, graph: Graph) -> tuple[Scorer, Calibrated]:
    """Fit what the validation rows settle, and return what scores as the predictor will answer."""
    scorer = ready.scorer
    metric, model = goal.eval_metric or scorer.chosen, _model_of(graph)
    tensors = scorer.answers(graph)
    if not is_finite(tensors):
        raise DataError(
            where="training",
            what="what was learnt answers validation rows with no finite number",
            mend="Lower optim.lr, or look for extreme numbers in the rows",
        )
    if model.wide is not None:
        tensors = settle_share(model.wide, ready.valid, ready.answer, tensors)
    found = calibrate(scorer, model, tensors, ready.config.optim, metric)
    return scorer if found.decision is None else scorer.at(found.decision.threshold), found


def _compare(goal: Goal, ready: Prepared, means: Means) -> Rival | None:
    """Fit the linear model, where there is time for it and nobody waits for the end."""
    budget = means.clock.rival_budget()
    if not devices.is_main() or means.interrupts.heard or not budget:
        return None
    return fit_linear(goal.schema, ready.answer, ready.rows, ready.valid, budget)


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
