"""Tables and settings -> tensors, and the model that is to learn from them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from automm.config.overrides import override
from automm.config.schema import Config
from automm.data.datamodule import TrainingData
from automm.data.gaps import drop_rows_without_pictures
from automm.data.processing import fit_processors
from automm.data.rows import Rows, check_share, prepare_rows
from automm.models.encoders import options_of
from automm.models.encoders.base import Encoder
from automm.models.fused import FusedModel
from automm.tasks.base import GRAPH, Task
from automm.training.augment import read_augmentation
from automm.training.devices import Devices, device_of
from automm.training.distill import Distiller, Lesson, Teacher, ask
from automm.training.losses import weigh_classes
from automm.training.outcome import Course, Goal, Trained
from automm.training.scoring import Scorer
from automm.training.wide import fit_wide
from automm_export.graph import Graph
from automm_serve.answers import AnyAnswer, ClassesAnswer
from automm_serve.answers.classes import HALF
from automm_serve.pipeline import Pipeline
from automm_serve.tensors import CellError, FileTable, Table, count_rows

POSITION = "\0position"
"""Column of a row's place in the user's table; no column of a table can be called that."""


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
        distiller: Compares the model with a teacher; None without one.
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
    distiller: Distiller | None = None


def prepare(
    task: Task,
    goal: Goal,
    config: Config,
    train: Table,
    valid: Table,
    course: Course,
    where: Devices,
) -> Prepared:
    """Fit the processors, read every cell, build the model; or take those of an earlier fit.

    Args:
        task: Of the goal.
        goal: What is to be learned.
        config: Settings.
        train: Rows to learn from.
        valid: Rows to choose the best state by.
        course: What there is to begin from.
        where: What is computed on; its processes share a step.

    Raises:
        DataError: The label cannot be learned, or too many rows are bad.
        ConfigError: A checkpoint or an encoder cannot be had, or settings do not fit together.
    """
    train, skipped = drop_rows_without_pictures(
        _numbered(train, course.positions), goal.schema, config.data
    )
    if course.start is None:
        answer = task.answer(goal.label, train, config.data)
        processors = fit_processors(goal.schema, train, config)
    else:
        answer = _undecided(course.start.pipeline.programs["predict"].answer)
        processors = course.start.pipeline.processors
    augmentation = read_augmentation(config, processors, answer)
    cache = config.env.cache_mb << 20
    rows, bad = prepare_rows("training data", train, processors, answer, cache)
    valid_rows, bad_valid = prepare_rows("validation data", valid, processors, answer, cache)
    lesson = None
    if goal.teacher is not None:
        kept = sorted(set(range(count_rows(train))) - {error.row for error in bad})
        rows, lesson = _teach(goal.teacher, rows, answer, config, where, goal.deadline)
        bad += [CellError(kept[e.row], e.column, e.what) for e in lesson.errors]
    if isinstance(answer, ClassesAnswer):
        config = weigh_classes(config, rows.targets["classes"], len(answer.classes))
    size = config.env.per_gpu_batch_size
    data = TrainingData(
        rows,
        valid_rows,
        size=size,
        valid_size=size * config.env.inference_batch_size_ratio,
        batch_size=max(config.env.batch_size, size * where.world),
        epochs=config.optim.max_epochs,
        max_steps=config.optim.max_steps,
        augmentation=augmentation,
        seed=goal.seed,
    )
    if course.start is None:
        model = task.model(processors, answer, config)
        wide = model.wide
        if wide is not None and not fit_wide(wide, rows, answer, config.optim, goal.seed):
            model.wide = None
            config = override(config, {"model.wide.use": False})
    else:
        model = _continued(course.start, config)
    distiller = None
    if lesson is not None:
        is_classes = isinstance(answer, ClassesAnswer)
        distiller = Distiller(config.distiller, model.out_dim, lesson, is_classes=is_classes)
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
        distiller,
    )


def _teach(
    teacher: Teacher,
    rows: Rows,
    answer: AnyAnswer,
    config: Config,
    where: Devices,
    deadline: float | None,
) -> tuple[Rows, Lesson]:
    """Ask the teacher about the rows; those that it cannot read are left out, as others are."""
    positions = [int(str(position)) for position in rows.table[POSITION]]
    lesson = ask(teacher, positions, answer, device=device_of(where), deadline=deadline)
    unread = {error.row for error in lesson.errors}
    check_share("training data, as the teacher reads them", unread, len(rows), lesson.errors)
    said = {"logits": lesson.logits}
    if config.distiller.reads_features:
        said["features"] = lesson.features
    return rows.taught(said, unread), lesson


def _continued(start: Trained, config: Config) -> FusedModel:
    """A copy of what was learnt; how many blocks are frozen may have changed."""
    model = copy.deepcopy(start.model)
    if model.temperature is not None:
        model.temperature.fill_(1)  # that of other weights
    if model.wide is not None:
        model.wide.share.fill_(1)
    for name, encoder in model.encoders.items():
        assert isinstance(encoder, Encoder)
        wanted = options_of(config, name).frozen_blocks
        for block in encoder.blocks[wanted : encoder.frozen]:
            block.requires_grad_(True)
        encoder.freeze(wanted)
    return model.train()


def _undecided(answer: AnyAnswer) -> AnyAnswer:
    """The answer at one half: a threshold was that of other weights."""
    if not isinstance(answer, ClassesAnswer):
        return answer
    return msgspec.structs.replace(answer, threshold=HALF)


def _numbered(table: Table, positions: Sequence[int] | None) -> Table:
    """The table with the positions of its rows, so that a row is named by the user's count."""
    numbers = list(range(count_rows(table))) if positions is None else list(positions)
    untyped = bool(getattr(table, "untyped", False))
    columns: dict[str, list[object]] = {name: list(cells) for name, cells in table.items()}
    return FileTable({**columns, POSITION: list(numbers)}, None, untyped)
