"""``MultiModalPredictor``: train on a table, answer rows, save, load, export."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any, Self

from automm.beginning import (
    Asked,
    configure_more,
    end,
    find_start,
    free_place,
    make_course,
    read_tables,
)
from automm.config.overrides import Hyperparameters, override
from automm.config.presets import find_preset, without_weights
from automm.config.schema import Config
from automm.config.unsupported import refuse_unsupported
from automm.data.tables import TrainingTables, digest
from automm.decisions import Wanted, calibration_settings
from automm.dropin import NUM_GPUS, AutoGluonCalls
from automm.report.html import FILE as REPORT
from automm.report.html.evidence import read_labelled
from automm.report.html.of_predictor import report_predictor
from automm.saved import Record, Saved, read_predictor, release, write_predictor
from automm.search.calls import SearchCalls
from automm.search.plan import Plan
from automm.search.state import SearchState, is_search, read_search
from automm.tasks import find_task
from automm.teacher import find_teacher
from automm.training.devices import is_main
from automm.training.fit import FitWarning, Goal, fit
from automm.training.logs import check_loggers, move_logs
from automm.training.resume import Resumable
from automm.training.resume import read as read_resumable
from automm_export.export import Exportable, ExportOptions, Report, export
from automm_export.session import TorchSession
from automm_serve.answers import AnyAnswer
from automm_serve.errors import ConfigError
from automm_serve.metrics import Metric, MetricLike, find_metric
from automm_serve.metrics.own import as_metric
from automm_serve.predictor import LocalPredictor
from automm_serve.predicts import Predictions
from automm_serve.tensors import Table

HOME = Path("AutoMMModels")
"""Folder for predictors that are given none."""


class MultiModalPredictor(SearchCalls, AutoGluonCalls):
    """Learns one column of a table from the others: pictures, texts, numbers, categories.

    Args:
        label: Column to predict.
        problem_type: ``binary``, ``multiclass``, ``regression``, or ``classification``; inferred
            from the label where None.
        presets: Name of a preset, ``edge`` where None.
        eval_metric: Default of ``evaluate``, and what training chooses by: a name, or a function
            of one's own (``automm_serve.metrics.own``), which a loaded predictor has no more.
        validation_metric: What training chooses by, where that is another one.
        hyperparameters: Settings that differ from the preset's: ``{"optim.lr": 1e-4}``,
            ``["optim.lr=1e-4"]`` or ``"optim.lr=1e-4"``.
        path: New or empty folder to save to; one under ``AutoMMModels`` where None.
        verbosity: 0 and 1 show no progress bar.
        enable_progress_bar: Overrules ``verbosity`` there.
        pretrained: Begin with the checkpoints' weights; else with their architecture alone.
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
        eval_metric: MetricLike | None = None,
        validation_metric: MetricLike | None = None,
        hyperparameters: Hyperparameters = None,
        path: str | Path | None = None,
        verbosity: int = 2,
        enable_progress_bar: bool | None = None,
        pretrained: bool = True,
        **unsupported: object,
    ) -> None:
        refuse_unsupported("MultiModalPredictor", unsupported)
        self.verbosity = verbosity
        self._label = label
        self._problem_type = problem_type
        self._presets = presets
        self._own_metrics: dict[str, Metric] = {}
        self._eval_metric = self._name_of(eval_metric)
        self._validation_metric = self._name_of(validation_metric)
        self._hyperparameters = hyperparameters
        self._path = Path(path) if path is not None else None
        self._enable_progress_bar = enable_progress_bar
        self._pretrained = pretrained
        self._saved: Saved | None = None
        self._local: LocalPredictor | None = None
        self._resumable: Resumable | SearchState | None = None

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
        calibrate: Wanted = "auto",
        calibrate_decision_threshold: Wanted = "auto",
        image_root: str | Path | None = None,
        teacher_predictor: object | None = None,
        seed: int = 0,
        hyperparameter_tune_kwargs: Mapping[str, object] | None = None,
        **unsupported: object,
    ) -> Self:
        """Train, and save.

        A predictor that is trained goes on learning from what it has learnt, to a new folder; one
        that was loaded with ``resume=True`` goes on with the fit that was cut off, in its folder.
        Ctrl-C and SIGTERM end training; the best state so far is saved.

        Args:
            train_data: Any form of table, with the label.
            presets: As in the constructor; stands above it.
            tuning_data: Rows to choose the best state by; held out of ``train_data`` where None.
            max_num_tuning_data: Most rows of them that are used.
            time_limit: Seconds from here to the saved predictor, from 60 on; what comes after
                training is counted in.
            save_path: As ``path`` in the constructor; stands above it.
            hyperparameters: Settings, on top of those of the constructor; where this predictor is
                trained already, on top of its own.
            column_types: Column -> type, for those that are to be taken as said.
            holdout_frac: Share of the rows to hold out.
            calibrate: Fit a temperature, so that probabilities say how often answers are right;
                ``auto``: as ``optim.calibrate`` says.
            calibrate_decision_threshold: Of two classes, fit the probability from which on the
                second one is answered; ``auto``: as ``optim.calibrate_decision_threshold`` says.
            image_root: Folder that relative picture paths start from.
            teacher_predictor: A trained predictor of the same column, or its folder: what it
                answers is learned beside the label, by ``distiller.*``. It may read other columns.
            seed: Of the split, the weights and the order of rows.
            hyperparameter_tune_kwargs: Search for settings whose hyperparameters are ranges; see
                ``automm.config.search.SearchOptions``. The best trial becomes this predictor.
            **unsupported: Other arguments of AutoGluon, at their defaults only.

        Returns:
            Itself.

        Raises:
            ConfigError: A setting is unknown, the folder to save to is not empty, or the teacher
                has learned something else.
            DataError: The table cannot be learned from; the message says why.
            SchemaError: A column that is named is not there.
        """
        given = {name: one for name, one in locals().items() if name not in ("self", "unsupported")}
        refuse_unsupported("fit", unsupported, given)
        entered = monotonic()
        label = self._needed_label()
        if self._problem_type is not None and self._problem_type != "classification":
            find_task(self._problem_type)
        _check_seed(seed)
        plan = self._plan(presets, hyperparameters, hyperparameter_tune_kwargs)
        asked = Asked(
            data=train_data,
            tuning_data=tuning_data,
            column_types=column_types,
            holdout_frac=holdout_frac,
            max_num_tuning_data=max_num_tuning_data,
            image_root=image_root,
            seed=seed,
            teacher_predictor=teacher_predictor,
        ).filled(self._resumable.request if self._resumable else None)
        path = self._place(save_path)
        start = find_start(self._saved, self._resumable, path)
        config = self._configure(presets, hyperparameters, start, plan)
        config = override(config, calibration_settings(calibrate, calibrate_decision_threshold))
        tables = read_tables(
            asked, label, start, problem_type=self._problem_type, eval_metric=self._eval_metric
        )
        for notice in tables.understanding.notices:
            warnings.warn(notice, FitWarning, stacklevel=2)
        earlier = self._resumable.request if self._resumable else None
        teacher = find_teacher(asked, tables, config, start, earlier)
        problem_type = str(tables.understanding.problem_type)
        default = self.eval_metric or find_task(problem_type).metrics[0]
        metric = self.validation_metric or default
        own = self._own_metrics.get(metric)
        metric = find_metric(own or metric, problem_type).name  # before the time is spent
        goal = Goal(
            label,
            problem_type,
            tables.understanding.schema,
            metric,
            seed=asked.seed,
            deadline=None if time_limit is None else entered + time_limit,
            shows_progress=self._shows_progress,
            own_metric=own,
            teacher=teacher,
            eval_metric=find_metric(self._own_metrics.get(default, default), problem_type),
        )
        request = asked.request(tables, label, problem_type, metric, self.eval_metric, teacher)
        if plan is not None:
            given = asked.of_fit(given, teacher)
            self._search(plan, goal, request, config, tables.valid, path, given)
            return self
        resumable = self._resumable if isinstance(self._resumable, Resumable) else None
        course = make_course(path, request, config, tables, start, resumable, self.listener)
        check_loggers(config.env.loggers)
        trained = fit(goal, config, tables.train, tables.valid, course)
        gc.collect()  # Lightning's trainer and the module hold each other, and with them all rows
        record = _record(tables, label, default, metric, trained.summary)
        self._take(Saved(record, trained), path)
        end(self._fitted(), path, trained.summary)
        if is_main():
            move_logs(path)
        if is_main() and self.listener is None:
            report_predictor(self, self._fitted(), tables.valid, path / REPORT, own_metric=own)
        return self

    @classmethod
    def load(
        cls,
        path: str | Path,
        resume: bool = False,
        verbosity: int = 3,
        **unsupported: object,
    ) -> Self:
        """Open a saved predictor. No network is asked.

        Args:
            path: Its folder.
            resume: Open a fit or a search that was cut off there; ``fit`` with the same table goes
                on with it.
            verbosity: As in the constructor.
            **unsupported: None.

        Raises:
            BundleError: The folder is damaged, foreign, or of a later release.
            ConfigError: There is no fit to resume.
        """
        refuse_unsupported("load", unsupported)
        predictor = cls(verbosity=verbosity)
        if resume:
            found = read_search(Path(path)) if is_search(Path(path)) else read_resumable(Path(path))
            predictor.go_on_with(found, Path(path))
            return predictor
        predictor._take(read_predictor(Path(path)), Path(path))
        return predictor

    def save(self, path: str | Path, *, replace: bool = False, **unsupported: object) -> Path:
        """Write the predictor to a folder, whole or not at all; its report goes along.

        Args:
            path: New or empty, or with ``replace`` that of a predictor.
            replace: Take the place of a predictor that is there.
            **unsupported: Other arguments of AutoGluon, any value: all that is needed is saved.

        Raises:
            ConfigError: The folder is not empty, or holds something else.
        """
        refuse_unsupported("save", unsupported)
        saved = self._fitted()
        report = self._path / REPORT if self._path else Path(REPORT)
        page = report.read_bytes() if report.is_file() else None
        write_predictor(saved, Path(path), replace=replace)
        self._path = Path(path)
        if page is not None:
            (self._path / REPORT).write_bytes(page)
        return self._path

    def run(self, table: Table, program: str = "predict") -> Predictions:
        """Answer every row, by the graph that is exported."""
        return self._answering().run(table, program)

    @property
    def answers(self) -> Mapping[str, AnyAnswer]:
        """Program name -> what its answers mean."""
        return self._answering().answers

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
            tuning=trained.tuning,
            metric=record.eval_metric,
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

    def write_report(
        self, data: object, path: str | Path, *, image_root: str | Path | None = None
    ) -> Path:
        """Write a page about the answers to other labelled rows, as ``fit`` does about its own.

        Args:
            data: Any form of table, with the label.
            path: Of the HTML file.
            image_root: Folder that relative picture paths start from.

        Raises:
            SchemaError: The label or another column is absent.
        """
        table = read_labelled(data, str(self.label), image_root)
        return report_predictor(self, self._fitted(), table, Path(path), what="rows given")

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
    def _shows_progress(self) -> bool:
        if self._enable_progress_bar is None:
            return self.verbosity > 1
        return self._enable_progress_bar

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
        """Number of weights that training moved, those of adapters among them."""
        if moved := self._fitted().record.summary.trained_weights:
            return moved
        model = self._fitted().trained.model
        return sum(p.numel() for p in model.parameters() if p.requires_grad)

    @property
    def model_size(self) -> float:
        """Size of weights and buffers in MB (1e6 bytes)."""
        tensors = self._fitted().trained.model.state_dict().values()
        return float(sum(tensor.nbytes for tensor in tensors)) / 1e6

    @property
    def data_path(self) -> str | None:
        """File of the table that a fit which was cut off began with."""
        return self._resumable.request.data if self._resumable else None

    def _configure(
        self,
        presets: str | None,
        hyperparameters: Hyperparameters,
        start: Saved | None,
        plan: Plan | None,
    ) -> Config:
        if self._resumable is not None and presets is None:
            return override(self._resumable.config, hyperparameters)
        if start is not None:
            return configure_more(start, presets, hyperparameters)
        config = find_preset(presets or self._presets)
        if not self._pretrained:
            config = without_weights(config)
        if plan is not None:
            config = override(config, plan.fixed)
        else:
            config = override(override(config, self._hyperparameters), hyperparameters)
        return config if self._num_gpus is None else override(config, {NUM_GPUS: self._num_gpus})

    def _name_of(self, metric: MetricLike | None) -> str | None:
        """The metric's name; one of a user's own is kept by it."""
        if metric is None or isinstance(metric, str):
            return metric
        own = as_metric(metric)
        self._own_metrics[own.name] = own
        return own.name

    def _place(self, save_path: str | Path | None) -> Path:
        """Where to save to: a resumed fit's own folder, else a new one."""
        if self._resumable is not None and self._path is not None:
            if save_path is not None and Path(save_path).resolve() != self._path.resolve():
                raise ConfigError(
                    where="save_path",
                    what=f"the fit that is resumed lies in {self._path}",
                    mend="Leave it out",
                )
            return self._path
        own = None if self._saved is not None else self._path
        return free_place(save_path or own or _new_path())

    def go_on_with(self, found: Resumable | SearchState, path: Path) -> None:
        """Let the next ``fit`` go on with one that was cut off, in its folder."""
        request = found.request
        self._resumable, self._path = found, path
        self._label, self._problem_type = request.label, request.problem_type
        self._eval_metric, self._validation_metric = request.eval_metric, request.metric

    def _needed_label(self) -> str:
        label = self.label
        if label is None:
            raise ConfigError(
                where="MultiModalPredictor",
                what="it has no label",
                mend="Pass label=..., the column to predict",
            )
        return label

    def _take(self, saved: Saved, path: Path) -> None:
        self._saved, self._path, self._local = saved, path, None
        self._resumable = None

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


def _new_path() -> Path:
    return HOME / f"mm-{datetime.now():%Y%m%d-%H%M%S-%f}"
