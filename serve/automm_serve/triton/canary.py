"""Asks a server rows whose answers are known: READY says little, an answer through all stages much.

A server whose Python has numpy 2 is READY and answers empty tensors; one whose stub died stays
READY; a misspelt target starts on another one. All three are seen here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from automm_serve.agreement import RELATIVE, compare_answers, relative_of
from automm_serve.answers import AnyAnswer
from automm_serve.bundle import MEND
from automm_serve.errors import BundleError, ServerError, unknown_name
from automm_serve.golden import read_answers
from automm_serve.pipeline import load_pipeline
from automm_serve.precisions import CPU_FILES, GPU_FILES
from automm_serve.tensors import Table
from automm_serve.triton import GPU, ROW_ERROR
from automm_serve.triton.control import Control
from automm_serve.triton.repository import ServedBundle


class Canary(Struct, frozen=True):
    """What a bundle's model is asked, and what it must say.

    Attributes:
        rows: JSON objects, as they are sent.
        answers: Program -> its codec.
        expected: Program -> the columns that the exporter's predictor gave; empty where the
            bundle holds no golden rows. Then a row of gaps is asked, which must have an answer.
        max_batch: Most rows of one request.
        relative: What the answers may differ by, of their scale.
    """

    rows: list[bytes]
    answers: Mapping[str, AnyAnswer]
    expected: Mapping[str, Table]
    max_batch: int
    relative: float = RELATIVE


def read_canary(bundle: ServedBundle) -> Canary:
    """Take the golden rows of a bundle.

    Raises:
        BundleError: They are damaged, or went away.
        ConfigError: The target does not run the precision.
    """
    manifest = bundle.manifest
    pipeline = load_pipeline(bundle.path / manifest.pipeline)
    answers = {name: program.answer for name, program in pipeline.programs.items()}
    files = GPU_FILES if bundle.target in GPU else CPU_FILES
    if bundle.precision not in files:
        raise unknown_name("precision", bundle.precision, files)
    most, relative = bundle.max_batch, relative_of(manifest, files[bundle.precision])
    if manifest.golden is None or not manifest.golden.count:
        gaps = dict.fromkeys(column.name for column in pipeline.schema.columns)
        return Canary([msgspec.json.encode(gaps)], answers, {}, most, relative)
    path = bundle.path / manifest.golden.rows
    try:
        rows = path.read_bytes().splitlines()
    except OSError as error:
        what = f"the golden rows cannot be read: {error}"
        raise BundleError(where=str(path), what=what, mend=MEND) from error
    expected = read_answers(bundle.path / manifest.golden.answers).programs
    return Canary(rows, answers, expected, most, relative)


def check_target(control: Control, bundle: ServedBundle) -> None:
    """Compare target and precision that were loaded with those that were asked for.

    Raises:
        ServerError: They differ.
    """
    pairs = zip(
        ("target", "precision"),
        control.target_of(bundle.name),
        (bundle.target, bundle.precision),
        strict=True,
    )
    for noun, found, wanted in pairs:
        if found != wanted:
            raise ServerError(
                where=f"model {bundle.name!r}",
                what=f"the server loaded the {noun} {found!r} where {wanted!r} was asked for",
                mend="Pass --model-config-name with a configuration of the bundle, or start it "
                "with",
                command=f"automm serve {bundle.path} --target {bundle.target} "
                f"--precision {bundle.precision}",
            )


def ask_canary(
    control: Control, name: str, canary: Canary, timeout_s: float, most: int | None = None
) -> None:
    """Ask the rows by every program, and compare the answers within the tolerances.

    Args:
        control: Of the server.
        name: Of the model.
        canary: What to ask.
        timeout_s: For each request.
        most: Rows to ask by `predict` alone; all rows by all programs where None.

    Raises:
        ServerError: A row is not answered, or otherwise than expected.
    """
    programs = ["predict"] if most else list(canary.expected) or ["predict"]
    rows = canary.rows[:most]
    for program in programs:
        answer = canary.answers[program]
        found: dict[str, list[object]] = {column.name: [] for column in answer.columns}
        for start in range(0, len(rows), canary.max_batch):
            part = rows[start : start + canary.max_batch]
            outputs = control.infer(name, part, program, timeout_s)
            for column, cells in _cells(answer, outputs, len(part)).items():
                found[column] += cells
        expected = canary.expected.get(program)
        if expected is None:
            _refuse_gaps(name, found)
        else:
            asked = {column: expected[column][: len(rows)] for column in found}
            _check_counts(name, program, asked, found)
            for parity in compare_answers("triton", program, answer, asked, found, canary.relative):
                if not parity.holds:
                    raise _wrong(
                        name,
                        f"program {program!r}, column {parity.column!r}: the golden answers "
                        f"differ by {parity.difference:.3g}, at most {parity.tolerance:.3g} is "
                        "allowed",
                    )


def _cells(
    answer: AnyAnswer, outputs: Mapping[str, list[Any]], rows: int
) -> dict[str, list[object]]:
    """The columns of an answer out of the flat lists of JSON; gaps where the server says so."""
    failed = [bool(text) for text in outputs[ROW_ERROR]]
    columns: dict[str, list[object]] = {}
    for column in answer.columns:
        cells: Any = outputs.get(column.name, [])
        if column.kind == "vector":
            flat = np.asarray(cells, np.float32)
            cells = flat.reshape(rows, -1) if flat.size else []
        columns[column.name] = [
            None if bad else cell for bad, cell in zip(failed, cells, strict=False)
        ]
    return answer.revive(columns)


def _refuse_gaps(name: str, found: Table) -> None:
    for column, cells in found.items():
        if not cells or any(cell is None for cell in cells):
            raise _wrong(name, f"a row of gaps has no answer in {column!r}")


def _check_counts(name: str, program: str, expected: Table, found: Table) -> None:
    for column, cells in found.items():
        if len(cells) != len(expected[column]):
            what = f"{len(cells)} of {len(expected[column])} golden rows came back"
            raise _wrong(name, f"program {program!r}, column {column!r}: {what}")


def _wrong(name: str, what: str) -> ServerError:
    return ServerError(
        where=f"model {name!r}",
        what=what,
        mend="Make the server's environment anew, so that it has the exporter's versions",
        command="automm triton install --force",
    )
