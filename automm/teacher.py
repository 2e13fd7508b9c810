"""Who teaches: a predictor or its folder -> what a fit learns from, checked before it begins."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Protocol, runtime_checkable

from automm.beginning import Asked
from automm.config.distiller import DistillerConfig
from automm.config.schema import Config
from automm.data.tables import TrainingTables
from automm.loading import holds, is_url
from automm.models.fused import FusedModel
from automm.saved import Saved, read_predictor
from automm.tasks import find_task
from automm.tasks.base import GRAPH
from automm.training.distill import WHERE, Teacher, check_options, scale_between
from automm.training.outcome import FitWarning
from automm.training.resume import Request
from automm_export.exportable import Exportable
from automm_serve.answers import AnyAnswer, ClassesAnswer
from automm_serve.errors import BundleError, ConfigError, SchemaError
from automm_serve.pipeline import Pipeline, dump_pipeline
from automm_serve.schema import Schema
from automm_serve.table import read_table
from automm_serve.tensors import Table


@runtime_checkable
class Teaches(Protocol):
    """A trained predictor, as it is seen from here."""

    @property
    def path(self) -> Path | None:
        """Its folder."""

    def exportable(self) -> Exportable:
        """Return pipeline and graphs."""


def find_teacher(
    asked: Asked,
    tables: TrainingTables,
    config: Config,
    start: Saved | None = None,
    earlier: Request | None = None,
) -> Teacher | None:
    """Return the teacher that is asked for, and the rows that it will be asked about.

    Args:
        asked: Its ``teacher_predictor`` is a predictor or the folder of one.
        tables: What was made of the table.
        config: Settings of the fit.
        start: A predictor that is trained on.
        earlier: The fit that is gone on with.

    Returns:
        None where there is none.

    Raises:
        ConfigError: It is no trained predictor; it has learned another column, another kind of
            problem or other classes; it reads a column that is not there; or settings are for a
            teacher, and there is none.
        BundleError: Its folder is damaged.
    """
    given = asked.teacher_predictor
    if given is None:
        _check_none(config, start, earlier)
        return None
    label, problem_type = str(tables.understanding.label), str(tables.understanding.problem_type)
    answer = (
        find_task(problem_type).answer(label, tables.train, config.data)
        if start is None
        else start.trained.pipeline.programs["predict"].answer
    )
    check_options(config.distiller, is_classes=isinstance(answer, ClassesAnswer))
    pipeline, model, path = _open(given)
    _check_question(pipeline, problem_type, answer)
    return Teacher(
        pipeline,
        model,
        _read_columns(asked, pipeline.schema),
        _digest(pipeline, model),
        None if path is None else str(path.absolute()),
    )


def _check_none(config: Config, start: Saved | None, earlier: Request | None) -> None:
    if earlier is not None and earlier.teacher:
        raise ConfigError(
            where=WHERE,
            what="the fit that is resumed learned from a predictor that lay in no folder",
            mend="Pass the same one again, or train anew",
        )
    known = DistillerConfig() if start is None else start.trained.config.distiller
    if config.distiller != known:
        raise ConfigError(
            where="hyperparameters 'distiller.*'",
            what="they say how to learn from a teacher, and there is none",
            mend="Pass teacher_predictor (--teacher), or leave them out",
        )


def _open(given: object) -> tuple[Pipeline, FusedModel, Path | None]:
    if isinstance(given, str | Path):
        path = Path(given)
        _check_folder(given)
        trained = read_predictor(path).trained
        return trained.pipeline, trained.model, path
    if not isinstance(given, Teaches):
        raise ConfigError(
            where=WHERE,
            what=f"{type(given).__name__} is no predictor that was trained here",
            mend="Pass a MultiModalPredictor, or the folder of one",
        )
    try:
        found = given.exportable()
    except ConfigError as error:
        raise ConfigError(
            where=WHERE, what=error.what, mend="Train it first, or load one"
        ) from error
    model = found.graphs[GRAPH].model
    assert isinstance(model, FusedModel)
    place = given.path
    saved = place is not None and (place / "predictor.json").is_file()
    return found.pipeline, model, place if saved else None


def _check_folder(given: str | Path) -> None:
    mend = "Pass the folder that `automm train` wrote"
    if is_url(given):
        raise ConfigError(
            where=WHERE, what=f"{given} is served, and gives answers alone", mend=mend
        )
    try:
        kind = holds(given)
    except BundleError as error:
        raise ConfigError(where=WHERE, what=f"{given}: {error.what}", mend=mend) from error
    if kind == "bundle":
        what = f"{given} is a bundle, which holds graphs and no weights to ask features of"
        raise ConfigError(where=WHERE, what=what, mend=f"{mend}, from which it was exported")


def _check_question(pipeline: Pipeline, problem_type: str, answer: AnyAnswer) -> None:
    theirs = pipeline.programs["predict"].answer
    for what, known, wanted in (
        ("label", theirs.columns[0].name, answer.columns[0].name),
        ("problem_type", pipeline.problem_type, problem_type),
    ):
        if known != wanted:
            raise ConfigError(
                where=WHERE,
                what=f"its {what} is {known!r}, that of this fit is {wanted!r}",
                mend=f"Pass a teacher with that {what}, or {what}={known!r}",
            )
    scale_between(theirs, answer)


def _read_columns(asked: Asked, schema: Schema) -> Table:
    """The table of the fit, all its rows, in the columns that the teacher reads."""
    try:
        found, notes = schema.conform(read_table(asked.data, asked.image_root))
    except SchemaError as error:
        raise ConfigError(
            where=WHERE,
            what=f"it reads other columns than the table has: {error.what}",
            mend="Pass a table with these columns too; the student may ignore them by column_types",
        ) from error
    for note in notes:
        warnings.warn(f"the teacher: {note}", FitWarning, stacklevel=4)
    return found


def _digest(pipeline: Pipeline, model: FusedModel) -> str:
    found = hashlib.sha256(dump_pipeline(pipeline))
    for name, tensor in model.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
