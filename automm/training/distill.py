"""Distillation: a trained predictor, larger or with more columns, teaches the one that is trained.

The teacher is asked once, before the first step, for every training row as it stands in the table:
not changed by augmentation, whole where modality dropout takes cells away. So an epoch costs no
more than without a teacher, and the same rows are learned from after a resume and in every process;
the teacher itself is in no module that trains, is saved or is exported. Where rows are mixed, what
it said of them is mixed by the same shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from automm.config.distiller import DistillerConfig
from automm.models.fused import FusedModel
from automm.training.distill_losses import angle_loss, answer_loss, distance_loss, feature_loss
from automm_export.graph import Graph
from automm_export.session import TorchSession
from automm_serve.answers import AnyAnswer, ClassesAnswer, EmbeddingAnswer, ValuesAnswer
from automm_serve.cells import category_key
from automm_serve.errors import ConfigError
from automm_serve.pipeline import Pipeline, Program, Step
from automm_serve.predictor import LocalPredictor
from automm_serve.processors import AnyProcessor
from automm_serve.tensors import BATCH, CellError, Table, TensorSpec, take_rows

WHERE = "teacher_predictor (--teacher)"
"""What the user gave, in words of both interfaces."""

_ASKED = "asked"
_CHUNK = 128


class Teacher(NamedTuple):
    """A predictor that teaches, and the rows that it is asked about.

    Attributes:
        pipeline: Everything of it but the weights.
        model: Its weights; they are read, and never changed.
        table: The table that training rows were taken of, in the columns that the teacher reads.
        sha256: Of pipeline and weights.
        path: Its folder; None where it lies in none.
    """

    pipeline: Pipeline
    model: FusedModel
    table: Table
    sha256: str
    path: str | None = None


class Lesson(NamedTuple):
    """What a teacher says, in the classes or the unit of the student.

    Attributes:
        logits: float32 (rows, classes or 1), as the student's own are scaled and ordered.
        features: float32 (rows, width).
        weight: Of the teacher's head, float32 (classes or 1, width).
        bias: float32 (classes or 1,).
        errors: Cells that the teacher cannot read, the row by its place among those asked for;
            such a row has NaN.
    """

    logits: NDArray[np.float32]
    features: NDArray[np.float32]
    weight: Tensor
    bias: Tensor
    errors: list[CellError]


class Scale(NamedTuple):
    """How the teacher's logits become the student's: ``logits[:, order] * factor + shift``."""

    order: list[int]
    factor: float = 1.0
    shift: float = 0.0


def scale_between(theirs: AnyAnswer, ours: AnyAnswer) -> Scale:
    """Return how logits of the teacher become those of the student.

    Classes are told by their names, whatever their order and type; numbers are brought from the
    scale of the teacher's label to that of the student's.

    Args:
        theirs: What the teacher answers.
        ours: What the student is to answer.

    Raises:
        ConfigError: They are not of one kind, or have other classes.
    """
    if isinstance(theirs, ValuesAnswer) and isinstance(ours, ValuesAnswer):
        shift = (theirs.mean - ours.mean) / ours.deviation
        return Scale([0], theirs.deviation / ours.deviation, shift)
    if not (isinstance(theirs, ClassesAnswer) and isinstance(ours, ClassesAnswer)):
        raise ConfigError(
            where=WHERE, what="it answers another kind of question", mend="Pass another teacher"
        )
    known = {category_key(name): code for code, name in enumerate(theirs.classes)}
    wanted = [category_key(name) for name in ours.classes]
    only_ours = [name for name in wanted if name not in known]
    only_theirs = [name for name in known if name not in wanted]
    if only_ours or only_theirs:
        raise ConfigError(
            where=WHERE,
            what="its classes are not those of the training rows: "
            + "; ".join(
                f"{who} {', '.join(map(repr, names[:5]))}"
                for who, names in (
                    ("the teacher does not know", only_ours),
                    ("no row is", only_theirs),
                )
                if names
            ),
            mend="Train on rows of the same classes, or pass a teacher that has learned these",
        )
    return Scale([known[name] for name in wanted])


def ask(
    teacher: Teacher,
    positions: Sequence[int],
    answer: AnyAnswer,
    *,
    device: torch.device,
    deadline: float | None = None,
) -> Lesson:
    """Ask the teacher about rows, by the predictor that answers every row.

    Args:
        teacher: It comes back on its own device.
        positions: Of the rows in its table.
        answer: What the student is to answer.
        device: To compute on.
        deadline: By ``time.monotonic``; None for no limit.

    Raises:
        ConfigError: Its classes are others, or asking alone would take longer than there is time.
    """
    pipeline, model = teacher.pipeline, teacher.model
    scale = scale_between(pipeline.programs["predict"].answer, answer)
    width = model.head.out_features + model.out_dim
    names = tuple(processor.name for processor in pipeline.processors)
    program = Program(names, (Step(_ASKED),), EmbeddingAnswer(width))
    plan = msgspec.structs.replace(pipeline, programs={**pipeline.programs, _ASKED: program})
    home = next(model.parameters()).device
    said = np.full((len(positions), width), np.nan, np.float32)
    errors: list[CellError] = []
    begun = monotonic()
    try:
        session = TorchSession(_Speech(model.to(device), pipeline.processors))
        predictor = LocalPredictor(plan, {_ASKED: session})
        for start in range(0, len(positions), _CHUNK):
            part = positions[start : start + _CHUNK]
            found = predictor.run(take_rows(teacher.table, part), _ASKED)
            failed = {error.row for error in found.errors}
            good = [row for row in range(len(part)) if row not in failed]
            if good:
                cells = found.columns["features"]
                said[[start + row for row in good]] = np.asarray([cells[row] for row in good])
            errors += [CellError(start + e.row, e.column, e.what) for e in found.errors]
            _check_time(start + len(part), len(positions), monotonic() - begun, deadline)
    finally:
        model.to(home)
    classes = model.head.out_features
    # What it answers is at the temperature that it was calibrated to.
    factor = scale.factor / (1.0 if model.temperature is None else float(model.temperature))
    logits = said[:, :classes][:, scale.order] * factor + scale.shift
    head = model.head.weight.detach()[scale.order] * factor
    bias = model.head.bias.detach()[scale.order] * factor + scale.shift
    return Lesson(logits.astype(np.float32), said[:, classes:], head, bias, errors)


class Distiller(nn.Module):
    """What a student's answers and features lack to be the teacher's, as losses.

    Where a loss needs features at the teacher's width and the student's are of another, a linear
    layer between them is trained, and thrown away at the end.

    Args:
        options: What counts how much, as ``check_options`` lets it pass.
        width: Of the student's features.
        lesson: Whose head is kept; it is not trained.
        is_classes: Whether the label is one of some classes; else it is a number.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self, options: DistillerConfig, width: int, lesson: Lesson, *, is_classes: bool
    ) -> None:
        super().__init__()
        self.options = options
        self.is_classes = is_classes
        wanted = lesson.features.shape[1]
        needs = options.projects and width != wanted
        self.project = nn.Linear(width, wanted) if needs else nn.Identity()
        self.register_buffer("weight", lesson.weight)
        self.register_buffer("bias", lesson.bias)

    def forward(self, student: dict[str, Tensor], teacher: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weighted losses whose weight is not 0, as means over rows.

        Args:
            student: ``logits`` (rows, classes or 1) and ``features`` (rows, width) of its model.
            teacher: The same of the teacher, the logits in the student's scale and order; features
                where a loss reads them.
        """
        options = self.options
        # Squares of distances and a softmax at a temperature leave the range of 16 bits.
        with torch.autocast(student["logits"].device.type, enabled=False):
            logits, features = student["logits"].float(), student["features"].float()
            answers, losses = teacher["logits"], {}
            if weight := options.soft_label_weight:
                losses["soft_label"] = weight * answer_loss(
                    logits,
                    answers,
                    divergence=self._diverges(options.soft_label_loss_type),
                    temperature=options.temperature,
                )
            if not options.reads_features:
                return losses
            wanted = teacher["features"]
            # Relations need no common width: a projection would learn them in the student's place.
            if weight := options.rkd_distance_loss_weight:
                losses["rkd_distance"] = weight * distance_loss(features, wanted)
            if weight := options.rkd_angle_loss_weight:
                losses["rkd_angle"] = weight * angle_loss(features, wanted)
            if not options.projects:
                return losses
            projected = self.project(features)
            if weight := options.softmax_regression_weight:
                # Not what it answers: that has a linear model's logits beside its features'.
                losses["softmax_regression"] = weight * answer_loss(
                    nn.functional.linear(projected, self.weight, self.bias),
                    nn.functional.linear(wanted, self.weight, self.bias),
                    divergence=self._diverges(options.softmax_regression_loss_type),
                )
            if weight := options.output_feature_loss_weight:
                losses["output_feature"] = weight * feature_loss(
                    projected, wanted, cosine=options.output_feature_loss_type == "cosine"
                )
            return losses

    def _diverges(self, kind: str) -> bool:
        return kind == "cross_entropy" or (not kind and self.is_classes)


def check_options(options: DistillerConfig, *, is_classes: bool) -> None:
    """Refuse settings that leave the teacher no say, or that are not for numbers.

    Raises:
        ConfigError: They do.
    """
    if not (options.soft_label_weight or options.reads_features):
        raise ConfigError(
            where="hyperparameters 'distiller.*'",
            what="every weight of the teacher is 0",
            mend="Set distiller.soft_label_weight or another one, or pass no teacher",
        )
    for name in ("soft_label_loss_type", "softmax_regression_loss_type"):
        if not is_classes and getattr(options, name) == "cross_entropy":
            raise ConfigError(
                where=f"hyperparameter 'distiller.{name}'",
                what="the label holds numbers, which have no cross-entropy",
                mend="Set it to mse",
            )


class _Speech(Graph):
    """A row's logits, and its features behind them, as one vector."""

    def __init__(self, model: FusedModel, processors: Sequence[AnyProcessor]) -> None:
        super().__init__()
        self.model = model
        width = model.head.out_features + model.out_dim
        self.inputs = tuple(spec for processor in processors for spec in processor.specs())
        self.outputs = (TensorSpec("features", "float32", (BATCH, width)),)

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        found = self.model(tensors)
        return {"features": torch.cat([found["logits"], found["features"]], dim=1)}


def _check_time(done: int, rows: int, spent: float, deadline: float | None) -> None:
    """Better said now than when the time is over and nothing is learnt."""
    needed = spent / done * (rows - done)
    if deadline is None or done == rows or needed <= deadline - monotonic():
        return
    raise ConfigError(
        where=WHERE,
        what=f"it answered {done} of {rows} rows in {spent:.0f} s: to ask it of the others alone "
        "takes longer than time_limit leaves",
        mend="Raise time_limit, or pass fewer rows or a smaller teacher",
    )
