"""``MultiModalPredictor``: train on a table, answer rows, save, load, export.

The class stands here; what it is put together of stands beside:

- ``automm/facts.py``: its state and its properties
- ``automm/fitting.py``: ``fit``; ``automm/search/calls.py``: a search, which is many fits
- ``automm/decisions.py``: the threshold between two classes
- ``automm/dropin.py``: AutoGluon's other names, and its arguments of the calls that answer
- ``automm_serve/predicts.py``: ``predict``, ``evaluate`` and what else answers, over ``run``
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from automm.config.overrides import Hyperparameters
from automm.config.unsupported import refuse_unsupported
from automm.dropin import AutoGluonCalls
from automm.fitting import HOME, FitCalls
from automm.report.html import FILE as REPORT
from automm.report.html.evidence import read_labelled
from automm.report.html.of_predictor import report_predictor
from automm.saved import read_predictor, write_predictor
from automm.search.state import is_search, read_search
from automm.tasks import find_task
from automm.training.resume import read as read_resumable
from automm_export.exportable import Exportable, ExportOptions, Report
from automm_export.session import TorchSession
from automm_serve.answers import AnyAnswer
from automm_serve.metrics import MetricLike
from automm_serve.metrics.own import as_metric
from automm_serve.predictor import LocalPredictor
from automm_serve.predicts import Predictions
from automm_serve.tensors import Table

__all__ = ["HOME", "MultiModalPredictor"]


class MultiModalPredictor(FitCalls, AutoGluonCalls):
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
        self._own_metrics = {}
        self._eval_metric = self._name_of(eval_metric)
        self._validation_metric = self._name_of(validation_metric)
        self._hyperparameters = hyperparameters
        self._path = Path(path) if path is not None else None
        self._enable_progress_bar = enable_progress_bar
        self._pretrained = pretrained
        self._saved = self._local = self._resumable = None

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
        # Here, since a fit has no use for the packages that quantise, and would pay in memory.
        from automm_export.export import export

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

    def _name_of(self, metric: MetricLike | None) -> str | None:
        """The metric's name; one of a user's own is kept by it."""
        if metric is None or isinstance(metric, str):
            return metric
        own = as_metric(metric)
        self._own_metrics[own.name] = own
        return own.name

    def _answering(self) -> LocalPredictor:
        """The pipeline over torch, made at the first question."""
        if self._local is None:
            part = self.exportable()
            sessions = {name: TorchSession(graph) for name, graph in part.graphs.items()}
            self._local = LocalPredictor(part.pipeline, sessions)
        return self._local
