"""How a predictor learns: ``fit``, from the arguments to the saved folder."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Self

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
from automm.dropin import NUM_GPUS
from automm.report.html import FILE as REPORT
from automm.report.html.of_predictor import report_predictor
from automm.saved import Record, Saved, release
from automm.search.calls import SearchCalls
from automm.search.plan import Plan
from automm.search.state import SearchState
from automm.tasks import find_task
from automm.teacher import find_teacher
from automm.training.devices import is_main
from automm.training.outcome import FitSummary, FitWarning, Goal
from automm.training.resume import Resumable
from automm_serve.errors import ConfigError
from automm_serve.metrics import find_metric

HOME = Path("AutoMMModels")
"""Folder for predictors that are given none."""


class FitCalls(SearchCalls):
    """Trains, from nothing, on what was learnt, or where another fit was cut off."""

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
        # Here, since Lightning takes a second to import, and what only answers has no use for it.
        from automm.training.fit import fit
        from automm.training.logs import check_loggers, move_logs

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

    def go_on_with(self, found: Resumable | SearchState, path: Path) -> None:
        """Let the next ``fit`` go on with one that was cut off, in its folder."""
        request = found.request
        self._resumable, self._path = found, path
        self._label, self._problem_type = request.label, request.problem_type
        self._eval_metric, self._validation_metric = request.eval_metric, request.metric

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

    def _needed_label(self) -> str:
        label = self.label
        if label is None:
            raise ConfigError(
                where="MultiModalPredictor",
                what="it has no label",
                mend="Pass label=..., the column to predict",
            )
        return label


def _record(
    tables: TrainingTables, label: str, eval_metric: str, metric: str, summary: FitSummary
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
