"""Is a bundle what was exported, and does it answer as it did? Every byte, and the golden rows.

The digests lie in the bundle itself: they find damage, and not somebody who changes both.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from automm_serve.agreement import compare_answers, relative_of
from automm_serve.bundle import Bundle, file_fault
from automm_serve.devices import precisions_of, runnable_precisions
from automm_serve.errors import AutoMMError
from automm_serve.golden import read_answers, read_rows
from automm_serve.manifest import (
    MANIFEST,
    REPOSITORY,
    ColumnParity,
    Manifest,
    own_digest,
    read_manifest,
)
from automm_serve.precisions import CPU_FILES, FP32
from automm_serve.triton import KNOWN_MODEL_PY


class VerifyReport(Struct, frozen=True):
    """What was found.

    Attributes:
        ok: Nothing is wrong.
        problems: One line each, which begins with the file where there is one.
        files: Files that were compared.
        golden: The answers to the golden rows, compared with those of the export.
        not_run: What was not checked, and why.
    """

    ok: bool
    problems: list[str]
    files: int
    golden: tuple[ColumnParity, ...]
    not_run: list[str]


def verify(path: str | Path) -> VerifyReport:
    """Check a bundle: size and digest of every file, files that are not ours, golden answers.

    Args:
        path: Of the bundle. Nothing in it is changed, and no code of it is run.

    Returns:
        The report; a damaged bundle is no exception here.
    """
    folder = Path(path)
    try:
        raw, manifest = read_manifest(folder)
    except AutoMMError as error:
        return VerifyReport(False, [str(error)], 0, (), ["files", "golden rows"])
    problems = list(_check_files(folder, raw, manifest))
    golden: tuple[ColumnParity, ...] = ()
    not_run = []
    if problems:
        not_run.append("golden rows: files are damaged")
    elif manifest.golden is None:
        not_run.append("golden rows: the bundle has none")
    else:
        try:
            bundle = Bundle.open(folder)
            golden = tuple(
                parity
                for precision in runnable_precisions(manifest, CPU_FILES)
                for parity in answer_golden(bundle, precision)
            )
            not_run += [
                f"golden rows in {name}: a CPU does not run it"
                for name in precisions_of(manifest)
                if name not in runnable_precisions(manifest, CPU_FILES)
            ]
        except AutoMMError as error:
            problems.append(str(error))
    problems += [
        f"golden rows in {g.precision}: program {g.program!r}, column {g.column!r} differs by "
        f"{g.difference:.2g}, where {g.tolerance:.2g} is allowed"
        for g in golden
        if not g.holds
    ]
    return VerifyReport(not problems, problems, len(manifest.files) + 1, golden, not_run)


def answer_golden(bundle: Bundle, precision: str = FP32) -> tuple[ColumnParity, ...]:
    """Answer the golden rows with ONNX Runtime, and compare with the answers that lie there.

    Args:
        bundle: Whose rows they are.
        precision: In which the graphs run, on the CPU; its tolerance is what it was measured to
            differ by.

    Raises:
        BundleError: The rows or a graph cannot be read.
    """
    files = bundle.manifest.golden
    if files is None:
        return ()
    rows = read_rows(bundle.path / files.rows, bundle.pipeline.schema)
    expected = read_answers(bundle.path / files.answers).programs
    predictor = bundle.predictor("cpu", precision=precision)
    try:
        return tuple(
            msgspec.structs.replace(parity, precision=precision)
            for name, columns in expected.items()
            for parity in compare_answers(
                "onnxruntime",
                name,
                predictor.answers[name],
                columns,
                predictor.run(rows, name).columns,
                relative_of(bundle.manifest, precision),
            )
        )
    finally:
        predictor.close()


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's content, without holding it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_in(folder: Path) -> Iterator[str]:
    """Yield the path of each file and link below, as a manifest writes it, sorted."""
    found = []
    for root, folders, files in os.walk(folder):
        links = [name for name in folders if Path(root, name).is_symlink()]
        found += [Path(root, name).relative_to(folder).as_posix() for name in files + links]
    yield from sorted(found)


def _check_files(folder: Path, raw: bytes, manifest: Manifest) -> Iterator[str]:
    if own_digest(raw, manifest) != manifest.sha256:
        yield f"{MANIFEST}: its content is not what was written"
    for name, facts in sorted(manifest.files.items()):
        fault = file_fault(folder, name, facts.size_bytes)
        if not fault and file_digest(folder / name) != facts.sha256:
            fault = "its content is not what was written"
        if fault:
            yield f"{name}: {fault}"
    for name in files_in(folder):
        if name != MANIFEST and name not in manifest.files:
            yield f"{name}: it is not of this bundle"
    code = folder / REPOSITORY / manifest.name / "1" / "model.py"
    # Whatever its size: a stranger's has a digest that fits, and is a file of the manifest.
    if code.is_file() and code.read_bytes() not in map(str.encode, KNOWN_MODEL_PY):
        where = code.relative_to(folder).as_posix()
        yield f"{where}: it is not the code of this release, and must not be served"
