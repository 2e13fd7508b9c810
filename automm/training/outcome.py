"""What a fit is asked for, how it begins, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from automm.config.schema import Config
from automm.models.fused import FusedModel
from automm.search.record import SearchSummary
from automm.training.calibrate import Decision, Temperature
from automm.training.distill import Teacher
from automm.training.resume import Request, Resumable
from automm_serve.metrics import Metric
from automm_serve.pipeline import Pipeline
from automm_serve.schema import Schema
from automm_serve.tensors import CellError, Table

Listener: TypeAlias = Callable[[float, float, bool], None]
"""Takes the epochs so far, the score, and whether more of it is better. It may end the fit by
raising ``SystemExit``."""


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
        deadline: By ``time.monotonic``, for the saved predictor; None for no limit of time.
        shows_progress: Draw a progress bar.
        own_metric: The metric itself, where it is a user's function.
        teacher: Whose answers are learned too.
        eval_metric: What answers will be judged by; ``metric`` where None.
    """

    label: str
    problem_type: str
    schema: Schema
    metric: str
    name: str = "model"
    seed: int = 0
    deadline: float | None = None
    shows_progress: bool = False
    own_metric: Metric | None = None
    teacher: Teacher | None = None
    eval_metric: Metric | None = None


class FitSummary(Struct, frozen=True, kw_only=True):
    """How training went.

    Attributes:
        metric: What the best state was chosen by.
        score: Of the model that was kept, on the validation rows.
        trivial: Of the predictor that answers the shares of the classes, or the mean.
        beats_trivial: Whether the first is better than the second.
        linear: Of a linear model (TF-IDF, one-hot, standardised numbers); None where the columns
            are pictures alone, or no time was left.
        linear_rows: Training rows that the linear model learnt from.
        beats_linear: Whether the first is better than the linear model; None where there is none.
        scores: Other metrics on the validation rows.
        history: One entry for each validation: ``epoch`` (a fraction), ``step``, the mean ``loss``
            of training since the one before, and the score.
        stopped: ``max_epochs``, ``patience``, ``time_limit``, ``interrupted`` or ``not_finite``.
        souped: Number of states in the average.
        seconds: Of the whole, and of its parts.
        rows: Of training and validation, those left out not counted.
        left_out: Cells for which rows were left out, at most 100 of each table.
        trained_weights: Numbers that training moved, adapters among them; 0 where it is not known.
        notes: What was said in the course of training.
        search: How its settings were found, where that was by a search.
        temperature: How probabilities were calibrated; None where there are none, or it was not
            asked for.
        decision: How the threshold between two classes was chosen; None where it is one half.
        network_share: What the network's logits count beside a linear model's (``model.wide``), 0
            to 1; None where there is none.
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
    trained_weights: int = 0
    notes: tuple[str, ...] = ()
    search: SearchSummary | None = None
    temperature: Temperature | None = None
    decision: Decision | None = None
    network_share: float | None = None


class Trained(NamedTuple):
    """What comes out of training.

    Attributes:
        config: Settings that it was trained with.
        pipeline: Everything but the weights.
        model: The weights.
        summary: How training went.
        golden: Some validation rows, gaps among them.
        calibration: Some training rows.
        tuning: Validation rows with their label, to measure precisions on; None where a predictor
            was saved by a release that kept none.
    """

    config: Config
    pipeline: Pipeline
    model: FusedModel
    summary: FitSummary
    golden: Table
    calibration: Table
    tuning: Table | None = None


class Course(Struct, frozen=True, kw_only=True):
    """How a fit begins, and where it keeps what another one would need to go on.

    Attributes:
        folder: For ``automm.training.resume``; None keeps nothing.
        request: What was asked for; it is kept there too.
        resumed: What lies in the folder, to go on from; None begins anew.
        start: What an earlier fit has learnt; its processors, classes and weights are kept.
        write_start: Writes that predictor into a folder.
        positions: Of each training row in the table that the user gave; the row itself where None.
        listener: Told of each validation; those before a kill are told again.
    """

    folder: Path | None = None
    request: Request | None = None
    resumed: Resumable | None = None
    start: Trained | None = None
    write_start: Callable[[Path], None] | None = None
    positions: Sequence[int] | None = None
    listener: Listener | None = None
