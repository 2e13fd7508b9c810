"""How a fit begins: anew, on what a predictor has learnt, or where another fit was cut off."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from automm.config.overrides import Hyperparameters, override, pairs
from automm.config.schema import Config
from automm.data.infer import Understanding
from automm.data.tables import Split, TrainingTables, digest, read_more_tables, read_training_tables
from automm.saved import RECORD, Saved, read_predictor, release, write_predictor
from automm.search.state import is_search
from automm.training import devices
from automm.training.distill import Teacher
from automm.training.outcome import Course, FitSummary, Listener
from automm.training.resume import FOLDER, START, STATE, Begun, Request, Resumable, check_same
from automm_serve.answers import ClassesAnswer
from automm_serve.atomic import check_place
from automm_serve.errors import ConfigError

_MAY_CHANGE = ("lr_mult", "frozen_blocks", "gradient_checkpointing", "pretrained")
"""What may be set anew of the models of a predictor that is trained on."""


class Asked(Struct, frozen=True, kw_only=True):
    """The table of a fit, and how it is to be read.

    Attributes:
        data: Any form of table.
        tuning_data: Likewise; None holds rows out.
        column_types: Column -> type.
        holdout_frac: Share of the rows to hold out.
        max_num_tuning_data: Most rows to validate on.
        image_root: Folder that relative picture paths start from.
        seed: Of the split and of everything else.
        teacher_predictor: A predictor that teaches, or its folder.
    """

    data: Any
    tuning_data: Any = None
    column_types: Mapping[str, str | None] | None = None
    holdout_frac: float | None = None
    max_num_tuning_data: int | None = None
    image_root: str | Path | None = None
    seed: int = 0
    teacher_predictor: Any = None

    def filled(self, earlier: Request | None) -> Asked:
        """Return it with what is left out taken from a fit that was cut off."""
        if earlier is None:
            return self
        changes = {
            name: getattr(earlier, name)
            for name in self.__struct_fields__
            if not getattr(self, name, None) and hasattr(earlier, name)
        }
        return msgspec.structs.replace(self, **changes)

    def of_fit(self, given: Mapping[str, Any], teacher: Teacher | None = None) -> dict[str, Any]:
        """Return the arguments of ``fit``, with what was left out filled in."""
        own = {name: getattr(self, name) for name in self.__struct_fields__ if name in given}
        if teacher is not None and teacher.path is not None:  # for a process with another folder
            own["teacher_predictor"] = teacher.path
        return {**given, **own, "train_data": self.data}

    def split(self) -> Split:
        """Return how rows to validate on are got."""
        return Split(fraction=self.holdout_frac, seed=self.seed, most=self.max_num_tuning_data)

    def request(
        self,
        tables: TrainingTables,
        label: str,
        problem_type: str,
        metric: str,
        eval_metric: str | None,
        teacher: Teacher | None = None,
    ) -> Request:
        """Return what a resume folder holds of it."""
        return Request(
            label=label,
            problem_type=problem_type,
            metric=metric,
            eval_metric=eval_metric,
            seed=self.seed,
            train=digest(tables.train),
            valid=digest(tables.valid),
            data=_path(self.data),
            tuning_data=_path(self.tuning_data),
            column_types=dict(self.column_types) if self.column_types is not None else None,
            holdout_frac=self.holdout_frac,
            max_num_tuning_data=self.max_num_tuning_data,
            image_root=None if self.image_root is None else str(self.image_root),
            teacher_predictor=None if teacher is None else teacher.path,
            teacher="" if teacher is None else teacher.sha256,
            made_by=release(),
        )


def find_start(trained: Saved | None, resumable: Begun | None, path: Path) -> Saved | None:
    """Return the predictor that is trained on; None where a fit begins anew.

    Raises:
        BundleError: It lies in a resume folder, and is damaged.
    """
    if resumable is None:
        return trained
    return read_predictor(path / START) if (path / START).is_dir() else None


def read_tables(
    asked: Asked,
    label: str,
    start: Saved | None,
    *,
    problem_type: str | None,
    eval_metric: str | None,
) -> TrainingTables:
    """Read the tables, for columns that are to be understood or that are known.

    Raises:
        DataError: A table cannot be read or learnt from, or has unknown classes.
        SchemaError: A column is absent.
        ConfigError: A column type, a problem type or a share is unknown or does not fit.
    """
    if start is None:
        return read_training_tables(
            asked.data,
            asked.tuning_data,
            label,
            asked.split(),
            problem_type=problem_type,
            column_types=asked.column_types,
            eval_metric=eval_metric,
            image_root=asked.image_root,
        )
    pipeline = start.trained.pipeline
    answer = pipeline.programs["predict"].answer
    known = Understanding(pipeline.schema, pipeline.problem_type, label, start.record.reasons)
    return read_more_tables(
        asked.data,
        asked.tuning_data,
        known,
        asked.split(),
        classes=answer.classes if isinstance(answer, ClassesAnswer) else (),
        image_root=asked.image_root,
    )


def configure_more(start: Saved, presets: str | None, hyperparameters: Hyperparameters) -> Config:
    """Return the settings of a fit on what a predictor has learnt: its own, and these.

    Raises:
        ConfigError: They would make another model of it.
    """
    if presets is not None:
        raise ConfigError(
            where="fit of a trained predictor",
            what=f"presets={presets!r} would choose other models",
            mend="Leave it out, or make a new MultiModalPredictor",
        )
    for key, _ in pairs(hyperparameters):
        if key.startswith("model.") and key.rpartition(".")[2] not in _MAY_CHANGE:
            raise ConfigError(
                where=f"hyperparameter {key!r}",
                what="it would make another model than the one that is trained",
                mend="Leave it out, or make a new MultiModalPredictor",
            )
    return override(start.trained.config, hyperparameters)


def make_course(
    path: Path,
    request: Request,
    config: Config,
    tables: TrainingTables,
    start: Saved | None,
    resumable: Resumable | None,
    listener: Listener | None,
) -> Course:
    """Return how the fit begins, and where its course is kept.

    Raises:
        ConfigError: What is to be resumed was of another table, other settings or another release.
    """
    if resumable is not None:
        check_same(resumable, request, config)
    return Course(
        folder=path / FOLDER,
        request=request,
        resumed=resumable,
        start=None if start is None else start.trained,
        write_start=None if start is None else partial(write_predictor, start),
        positions=tables.positions,
        listener=listener,
    )


def end(saved: Saved, path: Path, summary: FitSummary) -> None:
    """Save in the place of the resume folder, or beside it where the fit was interrupted."""
    if devices.is_main():
        is_saved = (path / RECORD).is_file()
        write_predictor(
            saved,
            path,
            replace=is_saved or (path / STATE).is_file(),
            known_by=RECORD if is_saved else STATE,
            keep=FOLDER if summary.stopped == "interrupted" else None,
        )
    devices.wait()


def free_place(path: str | Path) -> Path:
    """Return the path, if it is new or empty: better said before training than behind it.

    Raises:
        ConfigError: Something is there.
    """
    folder = Path(path)
    if not devices.is_main():  # the first process may have begun to write
        return folder
    check_place(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        mend, command = "Pass another path, or remove what is there", ""
        if (folder / RECORD).is_file():
            what = "a predictor is there"
        elif (folder / STATE).is_file() or is_search(folder):
            what = "a fit that was cut off is there"
            mend = "Remove it or pass another path, or go on with it by"
            command = f"automm train --resume {folder}"
        else:
            what = "it is not empty"
        raise ConfigError(where=f"folder {folder}", what=what, mend=mend, command=command)
    return folder


def _path(data: object) -> str | None:
    return str(Path(data).absolute()) if isinstance(data, str | Path) else None
