"""What is known of a predictor: its state, and the properties that read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from automm.config.overrides import Hyperparameters
from automm.saved import Saved
from automm.search.state import SearchState
from automm.training.resume import Resumable
from automm_serve.errors import ConfigError
from automm_serve.predictor import LocalPredictor
from automm_serve.predicts import Predicts

if TYPE_CHECKING:
    from automm_serve.metrics import Metric


class PredictorFacts(Predicts):
    """State and properties that all parts of ``MultiModalPredictor`` share.

    Attributes:
        verbosity: 0 and 1 show no progress bar.
    """

    verbosity: int
    _label: str | None
    _problem_type: str | None
    _presets: str | None
    _own_metrics: dict[str, Metric]
    _eval_metric: str | None
    _validation_metric: str | None
    _hyperparameters: Hyperparameters
    _path: Path | None
    _enable_progress_bar: bool | None
    _pretrained: bool
    _num_gpus: int | None = None
    _saved: Saved | None
    _local: LocalPredictor | None
    _resumable: Resumable | SearchState | None

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

    @property
    def _shows_progress(self) -> bool:
        if self._enable_progress_bar is None:
            return self.verbosity > 1
        return self._enable_progress_bar

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
