"""Answers golden rows under several ONNX Runtimes, and prints one table: ``make matrix``.

The rows are those of the tiny bundle of the tests and, where the weights of preset `edge` are
installed, of a bundle with its encoders. Each version runs in an environment of its own, which pip
fills once; one that has no wheel for this Python is a row that says so.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from automm.report.weights import WEIGHTS, installed
from automm_serve.bundle import Bundle
from automm_serve.errors import ServerError
from automm_serve.releases import releases
from automm_serve.verify_release import (
    NUMPY_1,
    PREPROCESSES,
    Requirements,
    answer_in,
    make_environment,
)
from tests.automm_export.tiny import export_tiny

VERSIONS = ("1.17.3", "1.19.2", "1.20.1", "1.23.1", "1.24.4", "1.27.0", "1.28.0", "1.32.0")
"""From the oldest that a server in use has to the newest of pip."""


class Answered(NamedTuple):
    """How one bundle did under one version: in words, and whether all is as it should be."""

    text: str
    ok: bool
    ran: bool = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit code is 1 where an answer differs, or fewer than five ran."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--edge", type=Path, help="A bundle of preset edge; trained where absent.")
    parser.add_argument("--out", type=Path, help="Write the table there too.")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="automm_matrix_") as folder:
        bundles = {"tiny": export_tiny(Path(folder) / "tiny")}
        edge = asked.edge or _edge(Path(folder))
        if edge is not None:
            bundles["edge"] = edge
        rows = {name: Bundle.open(path).manifest.golden for name, path in bundles.items()}
        counts = ", ".join(f"{found.count} of {name}" for name, found in rows.items() if found)
        lines, failed, ran = list(_header(bundles)), 0, 0
        for number in VERSIONS:
            answered = {name: _answer(number, path) for name, path in bundles.items()}
            failed += sum(not found.ok for found in answered.values())
            ran += all(found.ran for found in answered.values())
            lines.append(_row(number, answered))
            print(lines[-1], file=sys.stderr, flush=True)
    table = "\n".join(lines) + "\n"
    print(table)
    if asked.out:
        asked.out.write_text(_page(table, counts), encoding="utf-8")
    return int(failed > 0 or ran < 5)


def _edge(folder: Path) -> Path | None:
    """A bundle of the default preset after three steps: what it learned is no matter here."""
    if not all(installed(package) for package in WEIGHTS["edge"]):
        return None
    from automm import MultiModalPredictor
    from automm.training.fit import FitWarning
    from automm_serve.table import read_table
    from automm_serve.tensors import take_rows
    from examples.emoji import LABEL, unpack

    files = unpack(folder / "data")
    warnings.simplefilter("ignore", FitWarning)  # three steps teach nothing, and fit says so
    predictor = MultiModalPredictor(label=LABEL, path=folder / "predictor", verbosity=1)
    predictor.fit(
        take_rows(read_table(files.train), range(0, 1515, 5)),
        hyperparameters={"optim.max_steps": 3, "optim.max_epochs": 1},
    )
    predictor.export(folder / "edge")
    return folder / "edge"


def _answer(number: str, bundle: Path) -> Answered:
    others = {name: version(name) for name in PREPROCESSES}
    try:
        python = make_environment(
            Requirements(number, _numpy(number), others), Path(sys.executable)
        )
        found = answer_in(python, bundle)
    except ServerError as error:
        return Answered(f"not run: {error.what}", ok=True, ran=False)
    if found.error:
        return Answered(found.error, False)
    worst = max(found.golden, key=lambda g: g.difference / (g.tolerance or 1))
    text = f"{worst.difference:.1e} of {worst.tolerance:.0e} (`{worst.column}`)"
    return Answered(text, all(g.holds for g in found.golden))


def _header(bundles: dict[str, Path]) -> Iterator[str]:
    names = " | ".join(f"{name}: largest difference" for name in bundles)
    yield f"| ONNX Runtime | container | highest IR | numpy | {names} |"
    yield "|---" * (4 + len(bundles)) + "|"


def _row(number: str, answered: dict[str, Answered]) -> str:
    named = [r for r in releases().values() if r.onnxruntime == number]
    span = {named[0].name, named[-1].name} if named else set()
    containers = " to ".join(sorted(name.partition(":")[2] for name in span)) or "none"
    highest = str(named[0].highest_ir) if named else ""
    cells = [found.text + ("" if found.ok else " **differs**") for found in answered.values()]
    return f"| {number} | {containers} | {highest} | {_numpy(number)} | {' | '.join(cells)} |"


def _page(table: str, counts: str) -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    return f"""# Golden rows under other ONNX Runtimes

Written by `make matrix`: golden rows ({counts}), answered in an environment of each version, on
Python {python} on a CPU. The largest difference from torch's answers is that of the column that
comes nearest to its tolerance. The containers are those that carry this version in their ONNX
Runtime backend; the backend itself did not run here.

{table}
The same for one bundle: `automm verify BUNDLE --target triton:25.10`.
"""


def _numpy(number: str) -> str:
    """What a container has beside this version; where none has it, what is here."""
    carried = any(release.onnxruntime == number for release in releases().values())
    return NUMPY_1 if carried else version("numpy")


if __name__ == "__main__":
    sys.exit(main())
