"""The class behind `NAME/1/model.py`: a LocalPredictor that is asked by Triton's Python backend.

Raw rows come in and the answer's columns go out. A row that cannot be read is answered by
`row_error`, a request that cannot be taken by an error of its own; neither harms its neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

# The module exists only inside Triton's stub, which puts it beside our own package.
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from automm_serve.cells import category_key
from automm_serve.errors import DataError, SchemaError
from automm_serve.pipeline import find_program, load_pipeline
from automm_serve.predictor import LocalPredictor
from automm_serve.schema import Column
from automm_serve.sessions import Session, open_session
from automm_serve.tensors import CellError, Table, concat_tables, count_rows
from automm_serve.threads import thread_budget
from automm_serve.triton import (
    BUNDLE,
    FACTS,
    GRAPHS,
    IMAGES,
    IN_PROCESS,
    OTHER_BUNDLE,
    PROGRAM,
    ROW,
    ROW_ERROR,
    TARGET,
    THREADS,
)
from automm_serve.wire import Facts, GraphFacts, from_wire, text_tensor


class _OtherBundleError(ValueError):
    """A request was written for another bundle: its sender would misread our answer."""


class _Part(NamedTuple):
    """A request that was understood: its program, its rows, and the rows that were not."""

    program: str
    table: Table
    errors: list[CellError]


class TritonPythonModel:
    """What Triton's Python backend looks for in a `model.py`; it gives the method names."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the pipeline and one session for each graph.

        Args:
            args: ``model_config`` as JSON, ``model_repository`` (the folder of this model) and
                ``model_version``, as the backend passes them.
        """
        config = json.loads(args["model_config"])
        parameters = {k: v["string_value"] for k, v in config.get("parameters", {}).items()}
        folder = Path(args["model_repository"])
        pipeline = load_pipeline(folder / args["model_version"] / "pipeline.json")
        self.bundle = msgspec.json.decode(parameters[FACTS], type=Facts).bundle
        graphs = msgspec.json.decode(parameters[GRAPHS], type=dict[str, GraphFacts])
        threads = int(parameters.get(THREADS, "0")) or thread_budget()
        in_process = parameters[TARGET] in IN_PROCESS
        device = int(args.get("model_instance_device_id") or 0)  # of an instance on a GPU
        self.predictor = LocalPredictor(
            pipeline,
            {
                name: _open(graph, folder.parent, threads, device) if in_process else _call(graph)
                for name, graph in graphs.items()
            },
            batch_size=int(config.get("max_batch_size", 0)) or 32,
        )

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each request; those for one program run as one table.

        An exception out of here would fail every request of the batch, and a None in the list
        would leave its client waiting for ever.
        """
        responses: dict[int, Any] = {}
        asked: dict[str, dict[int, _Part]] = {}
        for number, request in enumerate(requests):
            try:
                part = self._read(request)
                asked.setdefault(part.program, {})[number] = part
            except Exception as error:  # the boundary of the process
                responses[number] = _refusal(error)
        for parts in asked.values():
            responses |= self._answer_together(parts)
        return [responses[number] for number in range(len(requests))]

    def finalize(self) -> None:
        """Close the sessions, when the model is unloaded."""
        self.predictor.close()

    def _read(self, request: Any) -> _Part:
        parameters = json.loads(request.parameters() or "{}")
        program = str(parameters.get(PROGRAM, "predict"))
        find_program(self.predictor.pipeline.programs, program)
        meant = parameters.get(BUNDLE, self.bundle)
        if meant != self.bundle:
            raise _OtherBundleError(f"{OTHER_BUNDLE}: {self.bundle}, not {meant}")
        tensors = {}
        for name in (ROW, IMAGES):
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is not None:
                tensors[name] = tensor.as_numpy()
        schema = self.predictor.pipeline.schema
        table, errors = from_wire(schema, tensors)
        full, _ = schema.conform(table)
        return _Part(program, full, errors)

    def _answer_together(self, parts: dict[int, _Part]) -> dict[int, Any]:
        try:
            return self._answer(parts)
        except Exception as error:  # the boundary of the process
            if len(parts) == 1:
                return dict.fromkeys(parts, _refusal(error))
        # One request is at fault: each again, alone, so that its neighbours are answered.
        responses: dict[int, Any] = {}
        for number, part in parts.items():
            responses |= self._answer_together({number: part})
        return responses

    def _answer(self, parts: dict[int, _Part]) -> dict[int, Any]:
        program = next(iter(parts.values())).program
        found = self.predictor.run(concat_tables([part.table for part in parts.values()]), program)
        columns = self.predictor.answers[program].columns
        faults = {error.row: error for error in found.errors}
        responses = {}
        start = 0
        for number, part in parts.items():
            rows = range(start, start + count_rows(part.table))
            start = rows.stop
            wrong = {row - rows.start: faults[row] for row in rows if row in faults}
            wrong |= {error.row: error for error in reversed(part.errors)}
            answer = {c.name: list(found.columns[c.name][rows.start : rows.stop]) for c in columns}
            responses[number] = _response(columns, answer, wrong)
        return responses


def _open(graph: GraphFacts, repository: Path, threads: int, device: int) -> Session:
    return open_session(
        repository / graph.model / "1" / graph.file,
        graph.inputs,
        graph.outputs,
        threads=threads,
        engine=graph.engine,
        device=device,
    )


def _call(graph: GraphFacts) -> Session:
    from automm_serve.sessions.bls import BlsSession  # in-process targets go without

    return BlsSession(graph.model, graph.inputs, graph.outputs)


def _response(
    columns: Sequence[Column], answer: Table, wrong: dict[int, CellError]
) -> pb_utils.InferenceResponse:
    outputs = []
    for column in columns:
        cells = [None if row in wrong else c for row, c in enumerate(answer[column.name])]
        outputs.append(pb_utils.Tensor(column.name, _to_tensor(column, cells)))
    reports = (
        msgspec.json.encode({"column": wrong[row].column, "what": wrong[row].what})
        if row in wrong
        else b""
        for row in range(count_rows(answer))
    )
    outputs.append(pb_utils.Tensor(ROW_ERROR, text_tensor(reports)))
    return pb_utils.InferenceResponse(outputs)


def _to_tensor(column: Column, cells: Sequence[Any]) -> NDArray[Any]:
    """Zeros and empty texts stand for gaps: NaN is no JSON, and strict readers refuse it."""
    if column.kind == "vector":
        empty = np.zeros(column.width, np.float32)
        return np.stack([empty if c is None else np.asarray(c, np.float32) for c in cells])
    if column.kind == "number":
        return np.array([[0.0 if c is None else c] for c in cells], np.float32)
    if column.kind == "json":
        return text_tensor(b"" if c is None else msgspec.json.encode(c) for c in cells)
    return text_tensor(b"" if c is None else category_key(c).encode() for c in cells)


def _refusal(error: Exception) -> pb_utils.InferenceResponse:
    mistaken = isinstance(error, SchemaError | DataError | _OtherBundleError | json.JSONDecodeError)
    code = pb_utils.TritonError.INVALID_ARG if mistaken else pb_utils.TritonError.INTERNAL
    text = str(error) if mistaken else f"{type(error).__name__}: {error}"
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, code))
