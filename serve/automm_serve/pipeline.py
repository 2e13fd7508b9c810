"""A pipeline as data: what a table must have, how it becomes tensors, which graphs answer it.

``pipeline.json`` is the same file in a trained predictor, a bundle and a Triton repository.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from automm_serve.answers import AnyAnswer
from automm_serve.decisions import checked_threshold
from automm_serve.errors import BundleError, SchemaError, near_name
from automm_serve.processors import AnyProcessor
from automm_serve.schema import Schema
from automm_serve.tensors import Axis, TensorSpec

T = TypeVar("T")


class Step(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One graph of a program.

    Attributes:
        graph: Its name.
        inputs: Graph input -> tensor that feeds it, where their names differ.
        outputs: Graph output -> name under which later steps know it, where they differ.
    """

    graph: str
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}


class Program(Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of question that the pipeline answers.

    Attributes:
        processors: Names of those that run.
        steps: Graphs in the order in which they run.
        answer: Turns their tensors into columns.
    """

    processors: tuple[str, ...]
    steps: tuple[Step, ...]
    answer: AnyAnswer


class Pipeline(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything about a model but its weights.

    Attributes:
        name: Of the model on a server.
        problem_type: ``binary``, ``multiclass``, ``regression``, …
        schema: The columns that go in.
        processors: Cells to tensors.
        programs: By name; every pipeline has ``predict``.
    """

    name: str
    problem_type: str
    schema: Schema
    processors: tuple[AnyProcessor, ...]
    programs: dict[str, Program]

    def __post_init__(self) -> None:
        """Refuse parts that do not fit together; msgspec reports it with its place."""
        for fault in _faults(self):
            raise ValueError(fault)


def load_pipeline(path: Path) -> Pipeline:
    """Read a ``pipeline.json``.

    Raises:
        BundleError: It is not there, no JSON, or not a pipeline that this release knows.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Pipeline)
    except (OSError, ValueError, RecursionError) as error:  # UnicodeDecodeError too
        raise BundleError(
            where=str(path),
            what=str(error),
            mend="Take the folder from its source again, or export it with this release",
        ) from error


def dump_pipeline(pipeline: Pipeline) -> bytes:
    """Return the content of ``pipeline.json``; equal pipelines give equal bytes."""
    return msgspec.json.encode(pipeline, order="sorted")


def with_threshold(pipeline: Pipeline, threshold: float) -> Pipeline:
    """Return the pipeline with another decision threshold, where it answers with two classes.

    Raises:
        ConfigError: It is no probability, or there are not two classes.
    """
    program = pipeline.programs["predict"]
    answer = checked_threshold(program.answer, threshold)
    changed = msgspec.structs.replace(
        program, answer=msgspec.structs.replace(answer, threshold=float(threshold))
    )
    programs = {**pipeline.programs, "predict": changed}
    return msgspec.structs.replace(pipeline, programs=programs)


def find_program(programs: Mapping[str, T], name: str) -> T:
    """Return what belongs to a program, by its name.

    Raises:
        SchemaError: There is none of that name.
    """
    if name in programs:
        return programs[name]
    near = near_name(name, programs)
    raise SchemaError(
        where=f"program {name!r}",
        what="the model has no such program" + (f", but it has {near!r}" if near else ""),
        mend=f"Choose one of {', '.join(sorted(programs))}",
    )


def _faults(pipeline: Pipeline) -> Iterator[str]:
    columns = {column.name for column in pipeline.schema.columns}
    names = {processor.name for processor in pipeline.processors}
    specs: dict[str, TensorSpec] = {}
    axes: dict[str, Axis] = {}
    for processor in pipeline.processors:
        for unknown in set(processor.columns) - columns:
            yield f"processor {processor.name!r} reads {unknown!r}, which is not in the schema"
        for spec in processor.specs():
            if spec.name in specs:
                yield f"two processors make a tensor {spec.name!r}"
            specs[spec.name] = spec
            for axis in spec.shape:
                if isinstance(axis, Axis) and axes.setdefault(axis.name, axis) != axis:
                    yield f"axis {axis.name!r} has two lists of sizes"
    if "predict" not in pipeline.programs:
        yield "there is no program 'predict'"
    for name, program in pipeline.programs.items():
        if not program.steps:
            yield f"program {name!r} runs no graph"
        for unknown in set(program.processors) - names:
            yield f"program {name!r} needs the processor {unknown!r}, which is not there"
