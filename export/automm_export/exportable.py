"""What is exported, how, and what comes of it: the arguments of ``export`` and its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from msgspec import Struct

from automm_export.engines.build import Build
from automm_export.engines.options import EngineOptions
from automm_export.engines.request import check_request
from automm_export.graph import Graph
from automm_export.rewrite import LARGEST_FILE
from automm_export.standalone import check_tag
from automm_export.targets import CPU_TARGETS, TARGETS, find_target
from automm_export.text_limit import shorten_texts
from automm_serve.engines import Engine
from automm_serve.errors import ConfigError, SchemaError, near_name
from automm_serve.manifest import FOLDER_NAME, Parity
from automm_serve.pipeline import Pipeline
from automm_serve.precisions import FP32, PrecisionFigures, find_precision
from automm_serve.schema import Schema
from automm_serve.tensors import Table, count_rows, take_rows
from automm_serve.triton.locate import locate

MOST_GOLDEN = 32


class Exportable(NamedTuple):
    """What is exported; a trained predictor makes it of itself.

    Attributes:
        pipeline: That the bundle will hold.
        graphs: By name, on the CPU, adapters merged in.
        golden: 8 to 32 rows, gaps among them; they travel with the bundle.
        calibration: Rows to compare on, which stay here.
        tuning: Rows with their label that training did not learn from and that are no calibration:
            what a precision costs is measured on them. None where there are no labels.
        metric: To measure it by; the problem's first one where empty.
        metrics: Of the predictor, as they were measured.
        data_sha256: Of the training rows, where it is known.
    """

    pipeline: Pipeline
    graphs: Mapping[str, Graph]
    golden: Table
    calibration: Table
    tuning: Table | None = None
    metric: str = ""
    metrics: Mapping[str, float] = {}
    data_sha256: str = ""


class ExportOptions(Struct, frozen=True):
    """How to export.

    Attributes:
        name: Of the model on Triton; the pipeline's where empty.
        golden: Other golden rows, or a table without rows for none; the predictor's where None.
        check: Rows, best those of the test split, whose answers are compared too.
        optional: Columns that may be absent though they had no gap in training.
        allow_unused_inputs: An input without effect is reported, and no error.
        check_triton: Start a Triton server on the bundle and compare its answers too.
        replace: A bundle of this path gives way.
        targets: Where it shall be served; on the CPU where empty, and with ``trt`` everywhere.
        precisions: Beside fp32, which every bundle has.
        default_precision: What sessions and targets use that can run it.
        max_drop: Most that a precision may lose: points of a share, per cent of a loss or error.
        tuning: Labelled rows to measure that on; those that the predictor kept where None.
        trt: Prepare the GPU targets, and build the engines that this machine can build.
        engines: How.
        require_engine: No engine at all is an error.
        standalone: Tags such as ``cp312-x86_64`` of Pythons that shall need nothing installed.
        largest_file: Bytes of weights beyond which they lie in a file beside the graph: a protobuf
            message holds 2 GB.
    """

    name: str = ""
    golden: Table | None = None
    check: Table | None = None
    optional: tuple[str, ...] = ()
    allow_unused_inputs: bool = False
    check_triton: bool = False
    replace: bool = False
    targets: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    default_precision: str = FP32
    max_drop: float = 0.5
    tuning: Table | None = None
    trt: bool = False
    engines: EngineOptions = EngineOptions()
    require_engine: bool = False
    standalone: tuple[str, ...] = ()
    largest_file: int = LARGEST_FILE


class Report(Struct, frozen=True):
    """What was done.

    Attributes:
        path: Of the bundle.
        name: Of the model on Triton.
        seconds: Stage -> how long it took.
        sizes_bytes: File -> size.
        parity: The certificate, which ``bundle.json`` holds too.
        targets: Where the bundle can be served.
        precisions: What each costs.
        engines: That were built.
        missing: Engines that were not built, why, and the command that builds them.
        builds: How each engine was built.
    """

    path: str
    name: str
    seconds: dict[str, float]
    sizes_bytes: dict[str, int]
    parity: Parity
    targets: tuple[str, ...]
    precisions: dict[str, PrecisionFigures] = {}
    engines: tuple[Engine, ...] = ()
    missing: tuple[str, ...] = ()
    builds: tuple[Build, ...] = ()


def targets_of(options: ExportOptions) -> tuple[str, ...]:
    """Return the targets that are meant, the default first."""
    return options.targets or (tuple(TARGETS) if options.trt else CPU_TARGETS)


def prepare(model: Exportable, options: ExportOptions) -> Exportable:
    """Return the model as the options want it; what is asked wrongly is refused before any work.

    Raises:
        ConfigError: A name, a target, a column or a precision is none.
        SchemaError: A table lacks a column.
        ServerError: A Triton server is asked for, and there is none here.
    """
    for target in options.targets:
        find_target(target)
    for tag in options.standalone:
        check_tag(tag)
    check_precisions(options)
    if options.check_triton:
        locate()
    if options.trt and options.engines.max_length is not None:
        model = shorten_texts(model, options.engines.max_length)
    if options.trt:
        inputs = [graph.inputs for graph in model.graphs.values()]
        required = options.require_engine
        check_request(options.engines, inputs, options.precisions, required=required)
    name = options.name or model.pipeline.name
    if not FOLDER_NAME.fullmatch(name) or "__" in name:
        raise ConfigError(
            where=f"name {name!r}",
            what="a model's name is a folder and a part of a URL",
            mend="Take letters, digits, '-' and single '_', 100 at most, e.g. --name automm",
        )
    schema = model.pipeline.schema
    known = [column.name for column in schema.columns]
    for column in options.optional:
        if column not in known:
            near = near_name(column, known)
            raise ConfigError(
                where=f"optional column {column!r}",
                what="the model has no such column" + (f", but it has {near!r}" if near else ""),
                mend=f"Choose among {', '.join(known)}",
            )
    columns = tuple(
        msgspec.structs.replace(c, required=c.required and c.name not in options.optional)
        for c in schema.columns
    )
    schema = msgspec.structs.replace(schema, columns=columns)
    pipeline = msgspec.structs.replace(model.pipeline, name=name, schema=schema)
    golden = _conform(schema, model.golden if options.golden is None else options.golden)
    golden = take_rows(golden, range(min(MOST_GOLDEN, count_rows(golden))))
    calibration = _conform(schema, model.calibration)
    tuning = _tuning(pipeline, model, options)
    return model._replace(pipeline=pipeline, golden=golden, calibration=calibration, tuning=tuning)


def check_precisions(options: ExportOptions) -> None:
    """Look at the precisions that are asked for before any work is done.

    Raises:
        ConfigError: One is unknown, the default is not among them, or the loss allowed is none.
    """
    asked = [find_precision(name) for name in options.precisions]
    default = find_precision(options.default_precision)
    if default not in (FP32, *asked):
        raise ConfigError(
            where=f"default precision {default!r}",
            what=f"the bundle would hold {', '.join(dict.fromkeys((FP32, *asked)))} alone",
            mend=f"Ask for it too, by --precision {default}, or choose another default",
        )
    if not 0 <= options.max_drop < float("inf"):
        raise ConfigError(
            where="max_drop (--max-drop)",
            what=f"{options.max_drop} is not what a precision may lose",
            mend="Pass points of a share, or per cent of an error: 0 or more, such as 0.5",
        )


def _tuning(pipeline: Pipeline, model: Exportable, options: ExportOptions) -> Table | None:
    """Rows with their label to measure on, pictures under their root."""
    label = pipeline.programs["predict"].answer.columns[0].name
    table = model.tuning if options.tuning is None else options.tuning
    if table is None:
        return None
    if label not in table:
        near = near_name(label, list(table))
        raise SchemaError(
            where="tuning rows",
            what=f"they have no label column {label!r}" + (f", but {near!r}" if near else ""),
            mend="Pass rows with the label: what a precision costs is measured on it",
        )
    return {**_conform(pipeline.schema, table), label: list(table[label])}


def _conform(schema: Schema, table: Table) -> dict[str, list[object]]:
    """The columns of the schema; a table without rows need not have any."""
    if not count_rows(table):
        return {column.name: [] for column in schema.columns}
    return schema.conform(table)[0]
