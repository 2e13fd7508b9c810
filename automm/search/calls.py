"""How ``fit`` searches: the part of the predictor that plans many fits, and becomes the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from automm.config.overrides import Hyperparameters
from automm.config.schema import Config
from automm.decisions import calibration_settings
from automm.dropin import NUM_GPUS
from automm.facts import PredictorFacts
from automm.report.html import FILE as REPORT
from automm.report.html.of_predictor import report_predictor
from automm.saved import read_predictor
from automm.search.fitting import search
from automm.search.plan import Plan, plan_again, plan_search
from automm.search.state import SearchState
from automm.training.outcome import Goal, Listener
from automm.training.resume import Request, check_same
from automm_serve.metrics import find_metric
from automm_serve.tensors import Table


class SearchCalls(PredictorFacts):
    """Searches for settings.

    Attributes:
        listener: Told of each validation of a fit; with one, a fit is a trial.
    """

    listener: Listener | None = None

    def _plan(
        self, presets: str | None, hyperparameters: Hyperparameters, options: object
    ) -> Plan | None:
        """The search that is asked for, or that was cut off; a trial is none."""
        if self.listener is not None:
            return None
        if isinstance(self._resumable, SearchState):
            return plan_again(self._resumable, presets, hyperparameters, options)
        layers = (self._hyperparameters, hyperparameters)
        goes_on = self._saved is not None or self._resumable is not None
        return plan_search(presets or self._presets, layers, options, goes_on=goes_on)

    def _search(
        self,
        plan: Plan,
        goal: Goal,
        request: Request,
        config: Config,
        valid: Table,
        path: Path,
        given: dict[str, Any],
    ) -> None:
        """Fit as often as the plan says, and become the best."""
        constructor = {
            "label": goal.label,
            "problem_type": goal.problem_type,
            "eval_metric": self._own_metrics.get(str(self._eval_metric), self._eval_metric),
            "validation_metric": self._own_metrics.get(goal.metric, goal.metric),
        }
        state = self._resumable
        if isinstance(state, SearchState):
            check_same(state, request, config)
        else:
            metric = goal.own_metric or find_metric(goal.metric, goal.problem_type)
            fixed = {} if self._num_gpus is None else {NUM_GPUS: self._num_gpus}
            wanted = given["calibrate"], given["calibrate_decision_threshold"]
            state = SearchState(
                request=request,
                config=config,
                preset=plan.preset,
                fixed={**plan.fixed, **fixed, **calibration_settings(*wanted)},
                space=plan.space,
                pretrained=self._pretrained,
                greater_is_better=metric.greater_is_better,
            )
        search(path, state, constructor, given, goal.deadline, shown=goal.shows_progress)
        self._take(read_predictor(path), path)
        summary = self._fitted().record.summary
        from automm.training.remarks import warn  # here: what answers needs no Lightning

        warn(summary, [len({one.row for one in cells}) for cells in summary.left_out.values()])
        own = goal.own_metric
        report_predictor(self, self._fitted(), valid, path / REPORT, own_metric=own)
