"""``MultiModalPredictor``: train on a table, answer rows, save, load, export."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any, Self

import msgspec

from automm.config.overrides import Hyperparameters, override
from automm.config.presets import find_preset
from automm.config.schema import Config
from automm.config.unsupported import refuse_unsupported
from automm.data.tables import Split, TrainingTables, digest, read_training_tables
from automm.saved import RECORD, Record, Saved, read_predictor, release, write_predictor
from automm.tasks import find_task
from automm.training.fit import FitWarning, Goal, fit
from automm_export.export import Exportable, ExportOptions, Report, export
from automm_export.session import TorchSession
from automm_serve.answers import AnyAnswer
from automm_serve.atomic import check_place
from automm_serve.errors import ConfigError
from automm_serve.metrics import find_metric
from automm_serve.predictor import LocalPredictor
from automm_serve.predicts import Predictions, Predicts
from automm_serve.tensors import Table

HOME = Path("AutoMMModels")
"""Folder for predictors that are given none."""


class MultiModalPredictor(Predicts):
    """Learns one column of a table from the others: pictures, texts, numbers, categories.

    Args:
        label: Column to predict.
        problem_type: ``binary``, ``multiclass``, ``regression``, or ``classification``; inferred
            from the label where None.
        presets: Name of a preset, ``edge`` where None.
        eval_metric: Default of ``evaluate``, and what training chooses by.
        validation_metric: What training chooses by, where that is another one.
        hyperparameters: Settings that differ from the preset's: ``{"optim.lr": 1e-4}``,
            ``["optim.lr=1e-4"]`` or ``"optim.lr=1e-4"``.
        path: New or empty folder to save to; one under ``AutoMMModels`` where None.
        verbosity: 0 and 1 show no progress bar.
        enable_progress_bar: Overrules ``verbosity`` there.
        **unsupported: Other arguments of AutoGluon, at their defaults only.

    Raises:
        ConfigError: An argument is unknown, or asks for what this release does not do.

    Example:
        >>> predictor = MultiModalPredictor(label="price").fit("train.csv")
        >>> predictor.predict("new.csv")
    """

    def __init__(
        self,
        label: str | None = None,
        problem_type: str | None = None,
        *,
        presets: str | None = None,
        eval_metric: str | None = None,
        validation_metric: str | None = None,
        hyperparameters: Hyperparameters = None,
        path: str | Path | None = None,
        verbosity: int = 2,
        enable_progress_bar: bool | None = None,
        **unsupported: object,
    ) -> None:
        refuse_unsupported("MultiModalPredictor", unsupported)
        self.verbosity = verbosity
        self._label = label
        self._problem_type = problem_type
        self._presets = presets
        self._eval_metric = eval_metric
        self._validation_metric = validation_metric
        self._hyperparameters = hyperparameters
        self._path = Path(path) if path is not None else None
        self._shows_progress = verbosity > 1 if enable_progress_bar is None else enable_progress_bar
        self._saved: Saved | None = None
        self._local: LocalPredictor | None = None

    def fit(
        self,
        train_data: object,
        presets: str | None = None,
        tuning_data: object | None = None,
        *,
        max_num_tuning_data: int | None = None,
        time_limit: float | None = None,
        save_path: str | Path | None = None,
        hyperparameters: Hyperparameters = None,
        column_types: Mapping[str, str | None] | None = None,
        holdout_frac: float | None = None,
        image_root: str | Path | None = None,
        seed: int = 0,
        **unsupported: object,
    ) -> Self:
        """Train, and save.

        Args:
            train_data: Any form of table, with the label.
            presets: As in the constructor; stands above it.
            tuning_data: Rows to choose the best state by; held out of ``train_data`` where None.
            max_num_tuning_data: Most rows of them that are used.
            time_limit: Seconds after which training stops; averaging comes after it.
            save_path: As ``path`` in the constructor; stands above it.
            hyperparameters: Settings, on top of those of the constructor.
            column_types: Column -> type, for those that are to be taken as said.
            holdout_frac: Share of the rows to hold out.
            image_root: Folder that relative picture paths start from.
            seed: Of the split, the weights and the order of rows.
            **unsupported: Other arguments of AutoGluon, at their defaults only.

        Returns:
            Itself.

        Raises:
            ConfigError: A setting is unknown, or the folder to save to is not empty.
            DataError: The table cannot be learned from; the message says why.
            SchemaError: A column that is named is not there.
        """
        refuse_unsupported("fit", unsupported)
        start = monotonic()
        label = self._needed_label()
        if self._problem_type is not None and self._problem_type != "classification":
            find_task(self._problem_type)
        _check_seed(seed)
        path = _free(save_path or self._path or _new_path())
        config = self._configure(presets, hyperparameters)
        tables = read_training_tables(
            train_data,
            tuning_data,
            label,
            Split(fraction=holdout_frac, seed=seed, most=max_num_tuning_data),
            problem_type=self._problem_type,
            column_types=column_types,
            eval_metric=self._eval_metric,
            image_root=image_root,
        )
        for notice in tables.understanding.notices:
            warnings.warn(notice, FitWarning, stacklevel=2)
        problem_type = str(tables.understanding.problem_type)
        default = find_task(problem_type).metrics[0]
        metric = self._validation_metric or self._eval_metric or default
        find_metric(metric, problem_type)  # before the time is spent
        goal = Goal(
            label,
            problem_type,
            tables.understanding.schema,
            metric,
            seed=seed,
            deadline=None if time_limit is None else start + time_limit,
            shows_progress=self._shows_progress,
        )
        trained = fit(goal, config, tables.train, tables.valid)
        record = _record(tables, label, self._eval_metric or default, metric, trained.summary)
        self._take(Saved(record, trained), path)
        self.save(path)
        return self

    @classmethod
    def load(cls, path: str | Path, *, verbosity: int = 2) -> Self:
        """Open a saved predictor. No network is asked.

        Raises:
            BundleError: The folder is damaged, foreign, or of a later release.
        """
        predictor = cls(verbosity=verbosity)
        predictor._take(read_predictor(Path(path)), Path(path))
        return predictor

    def save(self, path: str | Path, *, replace: bool = False) -> Path:
        """Write the predictor to a folder, whole or not at all.

        Args:
            path: New or empty, or with ``replace`` that of a predictor.
            replace: Take the place of a predictor that is there.

        Raises:
            ConfigError: The folder is not empty, or holds something else.
        """
        saved = self._fitted()
        write_predictor(saved, Path(path), replace=replace)
        self._path = Path(path)
        return self._path

    def run(self, table: Table, program: str = "predict") -> Predictions:
        """Answer every row, by the graph that is exported."""
        return self._answering().run(table, program)

    @property
    def answers(self) -> Mapping[str, AnyAnswer]:
        """Program name -> what its answers mean."""
        return self._answering().answers

    def evaluate(
        self,
        data: object,
        metrics: str | Sequence[str] | None = None,
        *,
        return_pred: bool = False,
        realtime: bool | None = None,
        image_root: str | Path | None = None,
    ) -> Any:
        """Compare the answers with the label column; ``eval_metric`` where no metric is named."""
        names = self.eval_metric if metrics is None else metrics
        return super().evaluate(
            data, names, return_pred=return_pred, realtime=realtime, image_root=image_root
        )

    def fit_summary(self) -> dict[str, Any]:
        """Return how training went; see ``automm.training.fit.FitSummary``."""
        summary: dict[str, Any] = msgspec.to_builtins(self._fitted().record.summary)
        return summary

    def exportable(self) -> Exportable:
        """Return what ``automm_export.export`` needs."""
        record, trained = self._fitted().record, self._fitted().trained
        programs = trained.pipeline.programs
        graphs, _ = find_task(trained.pipeline.problem_type).serve(
            trained.model, trained.pipeline.processors, programs["predict"].answer
        )
        return Exportable(
            trained.pipeline,
            graphs,
            trained.golden,
            trained.calibration,
            metrics=record.summary.scores,
            data_sha256=record.data_sha256,
        )

    def export(self, path: str | Path, options: ExportOptions | None = None) -> Report:
        """Write a bundle that answers without torch, in process and on Triton.

        Args:
            path: Folder of the bundle, new or empty.
            options: See ``automm_export.export.ExportOptions``.

        Raises:
            ExportError: What was written does not answer as this predictor.
            ConfigError: The folder is not empty.
        """
        return export(self.exportable(), Path(path), options or ExportOptions())

    @property
    def path(self) -> Path | None:
        """Folder that it was saved to or loaded from."""
        return self._path

    @property
    def label(self) -> str | None:
        """Column to predict."""
        return self._saved.record.label if self._saved else self._label

    @property
    def problem_type(self) -> str | None:
        """``binary``, ``multiclass`` or ``regression``; before ``fit``, what was asked for."""
        return self._saved.trained.pipeline.problem_type if self._saved else self._problem_type

    @property
    def column_types(self) -> dict[str, str | None]:
        """Column -> its kind; None where it is ignored."""
        return {reason.name: reason.kind for reason in self._fitted().record.reasons}

    @property
    def eval_metric(self) -> str | None:
        """Default of ``evaluate``."""
        return self._saved.record.eval_metric if self._saved else self._eval_metric

    @property
    def validation_metric(self) -> str | None:
        """What training chose the best state by."""
        return self._saved.record.validation_metric if self._saved else self._validation_metric

    @property
    def positive_class(self) -> Any:
        """The class that binary metrics are about: the second one; None for other problems."""
        labels = self.class_labels
        return labels[1] if labels and len(labels) == 2 else None

    @property
    def total_parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self._fitted().trained.model.parameters())

    @property
    def trainable_parameters(self) -> int:
        """Number of weights that training moved."""
        model = self._fitted().trained.model
        return sum(p.numel() for p in model.parameters() if p.requires_grad)

    @property
    def model_size(self) -> float:
        """Size of weights and buffers in MB (1e6 bytes)."""
        tensors = self._fitted().trained.model.state_dict().values()
        return float(sum(tensor.nbytes for tensor in tensors)) / 1e6

    def _configure(self, presets: str | None, hyperparameters: Hyperparameters) -> Config:
        config = find_preset(presets or self._presets)
        return override(override(config, self._hyperparameters), hyperparameters)

    def _needed_label(self) -> str:
        if self._label is None:
            raise ConfigError(
                where="MultiModalPredictor",
                what="it has no label",
                mend="Pass label=..., the column to predict",
            )
        return self._label

    def _take(self, saved: Saved, path: Path) -> None:
        self._saved, self._path, self._local = saved, path, None

    def _fitted(self) -> Saved:
        if self._saved is None:
            raise ConfigError(
                where="MultiModalPredictor",
                what="it is not trained",
                mend="Call fit, or load a saved one",
            )
        return self._saved

    def _answering(self) -> LocalPredictor:
        """The pipeline over torch, made at the first question."""
        if self._local is None:
            part = self.exportable()
            sessions = {name: TorchSession(graph) for name, graph in part.graphs.items()}
            self._local = LocalPredictor(part.pipeline, sessions)
        return self._local


def _record(
    tables: TrainingTables, label: str, eval_metric: str, metric: str, summary: Any
) -> Record:
    understanding = tables.understanding
    return Record(
        made_by=release(),
        label=label,
        eval_metric=eval_metric,
        validation_metric=metric,
        reasons=understanding.reasons,
        data_sha256=digest(tables.train),
        summary=summary,
    )


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**63:
        raise ConfigError(
            where="seed", what=f"{seed} cannot be one", mend="Pass a whole number, 0 or more"
        )


def _free(path: str | Path) -> Path:
    """The path, if it is new or empty: better said before training than behind it."""
    folder = Path(path)
    check_place(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "a predictor is there" if (folder / RECORD).is_file() else "it is not empty"
        raise ConfigError(
            where=f"folder {folder}", what=what, mend="Pass another path, or remove what is there"
        )
    return folder


def _new_path() -> Path:
    return HOME / f"mm-{datetime.now():%Y%m%d-%H%M%S-%f}"
