"""What is exported, how, and what comes of it: the arguments of ``export`` and its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from msgspec import Struct

from automm_export.engines.options import EngineOptions
from automm_export.graph import Graph
from automm_export.targets import TARGETS, find_target
from automm_serve.engines import Engine
from automm_serve.errors import ConfigError, near_name
from automm_serve.manifest import FOLDER_NAME, Parity
from automm_serve.pipeline import Pipeline
from automm_serve.precisions import FP32, PrecisionFigures
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
        targets: Where it shall be served.
        precisions: Beside fp32, which every bundle has.
        default_precision: What sessions and targets use that can run it.
        max_drop: Most that a precision may lose: points of a share, per cent of a loss or error.
        tuning: Labelled rows to measure that on; those that the predictor kept where None.
        trt: Prepare the GPU targets, and build the engines that this machine can build.
        engines: How.
        require_engine: No engine at all is an error.
        standalone: Tags such as ``cp312-x86_64`` of Pythons that shall need nothing installed.
    """

    name: str = ""
    golden: Table | None = None
    check: Table | None = None
    optional: tuple[str, ...] = ()
    allow_unused_inputs: bool = False
    check_triton: bool = False
    replace: bool = False
    targets: tuple[str, ...] = tuple(TARGETS)
    precisions: tuple[str, ...] = ()
    default_precision: str = FP32
    max_drop: float = 0.5
    tuning: Table | None = None
    trt: bool = False
    engines: EngineOptions = EngineOptions()
    require_engine: bool = False
    standalone: tuple[str, ...] = ()


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


def prepare(model: Exportable, options: ExportOptions) -> Exportable:
    """Return the model as the options want it; what is asked wrongly is refused before any work.

    Raises:
        ConfigError: A name, a target or a column is none.
        ServerError: A Triton server is asked for, and there is none here.
    """
    for target in options.targets:
        find_target(target)
    if options.check_triton:
        locate()
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
    return model._replace(pipeline=pipeline, golden=golden, calibration=calibration)


def _conform(schema: Schema, table: Table) -> dict[str, list[object]]:
    """The columns of the schema; a table without rows need not have any."""
    if not count_rows(table):
        return {column.name: [] for column in schema.columns}
    return schema.conform(table)[0]
