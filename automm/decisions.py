"""AutoGluon-Tabular's calls about the threshold between two classes, on a trained predictor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from automm.facts import PredictorFacts
from automm_serve.errors import ConfigError
from automm_serve.metrics import find_metric
from automm_serve.pipeline import with_threshold

if TYPE_CHECKING:
    from automm_serve.metrics import MetricLike

Wanted: TypeAlias = bool | Literal["auto"]
"""``auto`` leaves it to the settings."""


def calibration_settings(calibrate: Wanted, threshold: Wanted) -> Mapping[str, object]:
    """Return what the two arguments of ``fit`` change of the settings."""
    given = {"optim.calibrate": calibrate, "optim.calibrate_decision_threshold": threshold}
    return {key: value for key, value in given.items() if value != "auto"}


class DecisionCalls(PredictorFacts):
    """Finds and sets the threshold of a trained predictor."""

    def calibrate_decision_threshold(
        self,
        data: object = None,
        metric: MetricLike | None = None,
        *,
        image_root: str | Path | None = None,
    ) -> float:
        """Return the threshold at which a metric is best; ``set_decision_threshold`` takes it.

        Args:
            data: Any form of table, with the label; the validation rows that the predictor has
                kept where None, 500 at most.
            metric: Of the answers; where None, ``eval_metric``, or ``f1`` where that one reads
                probabilities.
            image_root: Folder that relative picture paths start from.

        Raises:
            ConfigError: There are not two classes, the metric does not depend on a threshold, or
                no rows were kept.
            SchemaError: The label or another column is absent.
        """
        saved = self._fitted()
        if data is None:
            data = saved.trained.tuning
        if data is None:
            raise ConfigError(
                where="calibrate_decision_threshold",
                what="the release that saved the predictor has kept no validation rows",
                mend="Pass a table with the label",
            )
        if metric is None and self.decision_threshold is not None:
            name = saved.record.eval_metric
            found = find_metric(self._own_metrics.get(name, name), "binary")
            metric = found if found.needs == "prediction" else None
        return super().calibrate_decision_threshold(data, metric, image_root=image_root)

    def set_decision_threshold(self, decision_threshold: float) -> None:
        """Answer the second of two classes from this probability on.

        It holds for every later answer, ``save`` and ``export``; what lies in the folder already
        stays as it is until ``save``.

        Raises:
            ConfigError: It is no probability, or there are not two classes.
        """
        saved = self._fitted()
        pipeline = with_threshold(saved.trained.pipeline, decision_threshold)
        trained = saved.trained._replace(pipeline=pipeline)
        self._saved = msgspec.structs.replace(saved, trained=trained)
        if self._local is not None:
            self._local.pipeline = with_threshold(self._local.pipeline, decision_threshold)
