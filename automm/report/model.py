"""What a saved or served model holds: columns, answers, graphs, sizes, figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from automm.data.column import ColumnReason
from automm.loading import holds, is_url
from automm_serve.answers import AnyAnswer, ClassesAnswer
from automm_serve.errors import BundleError
from automm_serve.manifest import Manifest
from automm_serve.optional import require
from automm_serve.pipeline import Pipeline, load_pipeline
from automm_serve.schema import Column, Schema
from automm_serve.tensors import Axis, TensorSpec


class ModelReport(Struct, frozen=True, omit_defaults=True):
    """What a model holds.

    Attributes:
        what: ``predictor``, ``bundle`` or ``served model``.
        where: Folder or URL.
        name: Of the model on a server.
        problem_type: As AutoGluon calls it.
        columns: That go in.
        programs: Name -> the columns of its answer.
        classes: In the order of the probabilities; None for other problems.
        graphs: Name -> tensors, ``"body_ids int32 [batch, body_length]"`` for one.
        files: Path -> bytes.
        metrics: Measured in training.
        reasons: Column -> what it was taken for, and why; of a predictor.
        facts: What else there is to say, by name.
    """

    what: str
    where: str
    name: str
    problem_type: str
    columns: tuple[Column, ...]
    programs: dict[str, tuple[Column, ...]]
    classes: tuple[Any, ...] | None = None
    graphs: dict[str, tuple[str, ...]] = {}
    files: dict[str, int] = {}
    metrics: dict[str, float] = {}
    facts: dict[str, str] = {}
    reasons: dict[str, str] = {}


class _Temperature(Struct):
    value: float


class _Search(Struct):
    searcher: str
    scheduler: str
    trials: list[object]
    best: int


class _Summary(Struct):
    scores: dict[str, float]
    search: _Search | None = None
    temperature: _Temperature | None = None


class _Record(Struct):
    """The part of ``predictor.json`` that is of use here; the whole needs torch to be read."""

    label: str
    made_by: str
    summary: _Summary
    reasons: tuple[ColumnReason, ...] = ()


def describe_model(source: str | Path) -> ModelReport:
    """Return what a predictor, a bundle or a served model holds; no graph is loaded.

    Raises:
        BundleError: The folder is neither, or is damaged.
        ServerError: The server does not answer.
        MissingDependencyError: The client of a server is not installed.
    """
    if is_url(source):
        return _served(str(source))
    folder = Path(source)
    return _bundle(folder) if holds(folder) == "bundle" else _predictor(folder)


def _served(url: str) -> ModelReport:
    client = require("automm_serve.triton.client", purpose=url).Client(url)
    try:
        facts = client.facts
        more = {"bundle": facts.bundle, "largest request": f"{facts.max_batch} rows"}
        return _report(
            "served model", url, facts.name, facts.problem_type, facts.schema, facts.answers,
            facts=more,
        )  # fmt: skip
    finally:
        client.close()


def _bundle(folder: Path) -> ModelReport:
    bundle = require("automm_serve.bundle", purpose=str(folder)).Bundle.open(folder)
    manifest: Manifest = bundle.manifest
    golden = f"{manifest.golden.count} rows" if manifest.golden else "none"
    return _of_pipeline(
        "bundle",
        folder,
        bundle.pipeline,
        graphs={
            name: tuple(map(_signature, (*graph.inputs, *graph.outputs)))
            for name, graph in manifest.graphs.items()
        },
        files={name: facts.size_bytes for name, facts in sorted(manifest.files.items())},
        metrics=manifest.metrics,
        facts={
            "format": str(manifest.format),
            "content": manifest.content_sha256,
            "targets": ", ".join(manifest.targets),
            "largest request": f"{manifest.max_batch} rows",
            "golden": golden,
        },
    )


def _predictor(folder: Path) -> ModelReport:
    record = _record(folder / "predictor.json")
    facts = {"label": record.label, "made by": record.made_by}
    if record.summary.temperature is not None:
        facts["temperature"] = f"{record.summary.temperature.value:.6g}"
    if (found := record.summary.search) is not None:
        facts["search"] = (
            f"trial {found.best} of {len(found.trials)} was best ({found.searcher}, "
            f"{found.scheduler})"
        )
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return _of_pipeline(
        "predictor",
        folder,
        load_pipeline(folder / "pipeline.json"),
        files={path.relative_to(folder).as_posix(): path.stat().st_size for path in files},
        metrics=record.summary.scores,
        facts=facts,
        reasons={
            one.name: f"{one.kind or 'ignored'}; {one.rule}: {one.reason}" for one in record.reasons
        },
    )


def _record(path: Path) -> _Record:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Record)
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
        raise BundleError(
            where=str(path),
            what=f"it is damaged: {error}",
            mend="Take the folder from its source again, or train it anew",
        ) from error


def _of_pipeline(what: str, folder: Path, pipeline: Pipeline, **more: Any) -> ModelReport:
    answers = {name: program.answer for name, program in pipeline.programs.items()}
    return _report(
        what, str(folder), pipeline.name, pipeline.problem_type, pipeline.schema, answers, **more
    )


def _report(
    what: str,
    where: str,
    name: str,
    problem_type: str,
    schema: Schema,
    answers: dict[str, AnyAnswer],
    *,
    facts: dict[str, str],
    **more: Any,
) -> ModelReport:
    predicted = answers["predict"]
    if isinstance(predicted, ClassesAnswer) and len(predicted.classes) == 2:
        facts = {**facts, "threshold": f"{predicted.threshold:.6g}"}
    return ModelReport(
        what=what,
        where=where,
        name=name,
        problem_type=problem_type,
        columns=schema.columns,
        programs={program: answer.columns for program, answer in answers.items()},
        classes=predicted.classes if isinstance(predicted, ClassesAnswer) else None,
        facts=facts,
        **more,
    )


def _signature(spec: TensorSpec) -> str:
    sizes = ", ".join(size.name if isinstance(size, Axis) else str(size) for size in spec.shape)
    return f"{spec.name} {spec.dtype} [{sizes}]"
