"""The rest of AutoGluon's calls, so that its scripts run with one import changed.

What they do is done elsewhere; here stand the names. ``docs/migrating.md`` lists every name, and
what is meant by it here.
"""

from __future__ import annotations

import shutil
import sys
import webbrowser
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from automm.config.unsupported import refuse_unsupported
from automm.decisions import DecisionCalls
from automm.models.dump import dump_encoders
from automm.report.html import FILE as REPORT
from automm.tasks import find_task
from automm.tasks.base import GRAPH, Task
from automm_export.exportable import Exportable, ExportOptions, Report
from automm_export.rewrite import OPSET
from automm_serve.bundle import Bundle
from automm_serve.errors import ConfigError, SchemaError, near_name
from automm_serve.predictor import LocalPredictor
from automm_serve.table import read_table

if TYPE_CHECKING:
    from automm_serve.metrics import MetricLike

PROVIDERS = ("CPUExecutionProvider",)
"""Of ONNX Runtime, that ``optimize_for_inference`` takes; others go by ``export`` and a target."""

NUM_GPUS = "env.num_gpus"

AUTOGLUON_OPSET = 16
"""Default of its ``export_onnx``, at which nothing is asked for."""


class AutoGluonCalls(DecisionCalls):
    """Names that a script of AutoGluon may use; the predictor is the only class of them."""

    _bundle: TemporaryDirectory[str] | None = None

    @abstractmethod
    def exportable(self) -> Exportable:
        """Return what ``automm_export.export`` needs."""

    @abstractmethod
    def export(self, path: str | Path, options: ExportOptions | None = None) -> Report:
        """Write a bundle."""

    @property
    def problem_property(self) -> Task | None:
        """What is known of the problem type: its entry of ``automm.tasks.TASKS``."""
        return find_task(self.problem_type) if self.problem_type else None

    def predict(
        self,
        data: object,
        *,
        as_pandas: bool | None = None,
        decision_threshold: float | None = None,
        return_errors: bool = False,
        realtime: bool | None = False,
        image_root: str | Path | None = None,
        save_results: bool | None = None,
        **unsupported: object,
    ) -> Any:
        """Return one class or one number a row, as ``Predicts.predict`` does.

        Args:
            data: Any form of table.
            as_pandas: See there.
            decision_threshold: See there.
            return_errors: See there.
            realtime: See there.
            image_root: See there.
            save_results: Write the answers to ``predictions.csv`` in the predictor's folder too.
            **unsupported: Other arguments of AutoGluon, at their defaults only.
        """
        refuse_unsupported("predict", unsupported)
        found = super().predict(
            data,
            as_pandas=as_pandas,
            decision_threshold=decision_threshold,
            return_errors=return_errors,
            realtime=realtime,
            image_root=image_root,
        )
        if save_results:
            self._write_answers(found[0] if return_errors else found)
        return found

    def predict_proba(
        self,
        data: object,
        *,
        as_pandas: bool | None = None,
        as_multiclass: bool = True,
        return_errors: bool = False,
        realtime: bool | None = False,
        image_root: str | Path | None = None,
        **unsupported: object,
    ) -> Any:
        """Return the probability of each class, as ``Predicts.predict_proba`` does."""
        refuse_unsupported("predict_proba", unsupported)
        return super().predict_proba(
            data,
            as_pandas=as_pandas,
            as_multiclass=as_multiclass,
            return_errors=return_errors,
            realtime=realtime,
            image_root=image_root,
        )

    def extract_embedding(
        self,
        data: object,
        *,
        as_pandas: bool = False,
        return_errors: bool = False,
        realtime: bool | None = False,
        image_root: str | Path | None = None,
        as_tensor: bool = False,
        **unsupported: object,
    ) -> Any:
        """Return the features of each row, as ``Predicts.extract_embedding`` does.

        Args:
            data: Any form of table.
            as_pandas: See there.
            return_errors: See there.
            realtime: See there.
            image_root: See there.
            as_tensor: Return a torch tensor.
            **unsupported: Other arguments of AutoGluon, at their defaults only.
        """
        refuse_unsupported("extract_embedding", unsupported)
        found = super().extract_embedding(
            data,
            as_pandas=as_pandas and not as_tensor,
            return_errors=return_errors,
            realtime=realtime,
            image_root=image_root,
        )
        if not as_tensor:
            return found
        import torch

        if return_errors:
            return torch.from_numpy(found[0]), found[1]
        return torch.from_numpy(found)

    def evaluate(
        self,
        data: object,
        metrics: MetricLike | Sequence[MetricLike] | None = None,
        *,
        decision_threshold: float | None = None,
        return_pred: bool = False,
        realtime: bool | None = False,
        image_root: str | Path | None = None,
        label: str | None = None,
        **unsupported: object,
    ) -> Any:
        """Compare the answers with the label column, as ``Predicts.evaluate`` does.

        Args:
            data: Any form of table, with the label.
            metrics: See there; ``eval_metric`` where None.
            decision_threshold: See there.
            return_pred: See there.
            realtime: See there.
            image_root: See there.
            label: Column of ``data`` with the truth, where it is called otherwise.
            **unsupported: Other arguments of AutoGluon, at their defaults only.
        """
        refuse_unsupported("evaluate", unsupported)
        if label is not None and label != self.label:
            table = read_table(data, image_root)
            if label not in table:
                near = near_name(label, table)
                raise SchemaError(
                    where="evaluate",
                    what=f"there is no column {label!r}"
                    + (f", but there is {near!r}" if near else ""),
                    mend="Pass the name of the column with the true labels",
                )
            data, image_root = {**table, str(self.label): table[label]}, None
        if metrics is None and self.eval_metric is not None:
            metrics = self._own_metrics.get(self.eval_metric, self.eval_metric)
        return super().evaluate(
            data,
            metrics,
            decision_threshold=decision_threshold,
            return_pred=return_pred,
            realtime=realtime,
            image_root=image_root,
        )

    def fit_summary(self, verbosity: int = 0, show_plot: bool = False) -> dict[str, Any]:
        """Return how training went, rivals first; see ``automm.training.outcome.FitSummary``.

        Args:
            verbosity: Above 0, the comparison is printed.
            show_plot: Open the report in a browser.

        Returns:
            ``metric``, ``trivial``, ``linear``, ``score`` and the rest; AutoGluon's two keys
            ``val_<metric>`` and ``training_time`` among them.
        """
        summary: dict[str, Any] = msgspec.to_builtins(self._fitted().record.summary)
        first = ("metric", "trivial", "linear", "score", "beats_trivial", "beats_linear")
        found = {key: summary.pop(key) for key in first}
        found[f"val_{found['metric']}"] = found["score"]
        found["training_time"] = summary["seconds"].get("all")
        if verbosity > 0:
            for name in ("trivial", "linear", "score"):
                score = found[name]
                shown = "none" if score is None else f"{score:.4g}"
                print(f"{found['metric']} {name}: {shown}", file=sys.stderr)  # noqa: T201
        if show_plot and self.path is not None:
            webbrowser.open((self.path / REPORT).resolve().as_uri())
        return found | summary

    def set_verbosity(self, verbosity: int) -> None:
        """Say how much is shown: 0 and 1 show no progress bar."""
        self.verbosity = verbosity

    def set_num_gpus(self, num_gpus: int) -> None:
        """Say on how many devices the next ``fit`` runs: ``env.num_gpus``."""
        self._num_gpus = num_gpus

    def get_num_gpus(self) -> int | None:
        """Return what ``set_num_gpus`` was told, or what it was trained with."""
        if self._num_gpus is not None:
            return self._num_gpus
        return self._saved.trained.config.env.num_gpus if self._saved is not None else None

    def list_supported_models(self, pretrained: bool = True) -> list[str]:
        """Return the names of picture encoders that ``timm_image`` takes, as AutoGluon does.

        Args:
            pretrained: Only those that timm has weights for.
        """
        from automm.models.encoders.torchvision_stub import declare_missing_operators

        declare_missing_operators()  # before the import below
        import timm

        found = timm.list_models(pretrained=pretrained)
        return [str(name) for name in found]

    def dump_model(self, save_path: str | Path | None = None) -> str:
        """Write each pretrained encoder as its own library does, to be a checkpoint elsewhere.

        Args:
            save_path: Folder; each encoder gets a folder of its name in it. The predictor's own
                where None.

        Returns:
            The folder.

        Raises:
            ConfigError: There is no such encoder.
        """
        folder = Path(save_path or self.path or ".")
        trained = self._fitted().trained
        dump_encoders(trained.model, trained.pipeline.processors, folder)
        return str(folder)

    def export_onnx(
        self,
        data: object = None,
        path: str | Path | None = None,
        batch_size: int | None = None,
        verbose: bool | None = False,
        opset_version: int = AUTOGLUON_OPSET,
        truncate_long_and_double: bool = False,
    ) -> Any:
        """Write the graph alone; ``export`` writes what answers rows, preprocessing and all.

        Args:
            data: Not needed: the predictor keeps rows to try the graph on.
            path: Folder; the file is ``model.onnx`` in it. None returns its bytes.
            batch_size: Not needed: the batch is dynamic.
            verbose: Not needed.
            opset_version: The default, or the one that is written (20).
            truncate_long_and_double: Not needed: inputs are int32, float32 and uint8.

        Returns:
            Path of the file, or its bytes.

        Raises:
            ConfigError: Another opset is asked for.
            ExportError: The graph does not answer as the predictor.
        """
        if opset_version not in (AUTOGLUON_OPSET, OPSET):
            raise ConfigError(
                where="export_onnx",
                what=f"opset_version={opset_version}, but graphs are written in {OPSET}",
                mend="Leave it out",
            )
        with TemporaryDirectory(prefix="automm-onnx-") as scratch:
            self.export(Path(scratch) / "bundle")
            bundle = Bundle.open(Path(scratch) / "bundle")
            file = bundle.path / bundle.manifest.graphs[GRAPH].files["fp32"]
            if path is None:
                return file.read_bytes()
            folder = Path(path)
            folder.mkdir(parents=True, exist_ok=True)
            return str(shutil.copyfile(file, folder / "model.onnx"))

    def optimize_for_inference(
        self, providers: Sequence[str] | dict[str, object] | None = None
    ) -> LocalPredictor:
        """Answer by ONNX Runtime from now on, in this process; saving is not affected.

        Args:
            providers: ``["CPUExecutionProvider"]``, or None for the same.

        Returns:
            What answers rows: it is also used by this predictor.

        Raises:
            ConfigError: Another provider is asked for.
            ExportError: The graph does not answer as the predictor.
        """
        others = [name for name in providers or () if name not in PROVIDERS]
        if others:
            raise ConfigError(
                where="optimize_for_inference",
                what=f"{others[0]!r} is none of {', '.join(PROVIDERS)}",
                mend="For a GPU export a bundle and serve it",
                command="automm export PREDICTOR --out BUNDLE --trt",
            )
        folder = TemporaryDirectory(prefix="automm-bundle-")  # lives as long as the predictor
        self.export(Path(folder.name) / "bundle")
        self._local = Bundle.open(Path(folder.name) / "bundle").predictor("cpu")
        self._bundle = folder
        return self._local

    def _write_answers(self, answers: Any) -> None:
        from automm.report.answers import write_answers

        if self.path is not None:
            table = {str(self.label): list(answers)}
            write_answers(table, self.path / "predictions.csv", "csv")
