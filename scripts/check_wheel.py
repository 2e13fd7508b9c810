"""Checks the built wheel where it will live: alone, with ``[cpu]``, and with the network cut off.

A tiny training makes a predictor and a bundle here. In a new environment, with nothing but the
wheel and ``[cpu]``, ``automm predict`` must give the predictor's answers, and ``automm verify``
must pass, and must name a file in which one byte was flipped.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from automm import MultiModalPredictor
from automm.training.fit import FitWarning
from automm_serve.table import read_table
from automm_serve.tensors import take_rows
from examples.emoji import LABEL, unpack

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = 1e-5
"""Of a probability, on all test rows: what the design allows between torch and bundle."""
HEAVY = ("torch", "lightning", "transformers", "timm", "pandas", "onnx", "pyarrow", "sklearn")


def main() -> None:
    """Train, export, build, install, compare; the exit code is 1 at the first difference."""
    with tempfile.TemporaryDirectory(prefix="automm_wheel_") as folder:
        home = Path(folder)
        print("train for three steps, and export", flush=True)
        files = unpack(home / "data")
        predictor = MultiModalPredictor(label=LABEL, path=home / "predictor", verbosity=1)
        warnings.simplefilter("ignore", FitWarning)  # three steps teach nothing, and fit says so
        predictor.fit(
            take_rows(read_table(files.train), range(0, 1515, 5)),
            hyperparameters={"optim.max_steps": 3, "optim.max_epochs": 1},
        )
        predictor.export(home / "bundle")
        wanted = predictor.predict_proba(read_table(files.test))

        print("build the wheel, and install it with [cpu] alone", flush=True)
        python = _install(home)
        _check_light(python)
        for cut in ((), _cut_network()):
            where = "with the network cut off" if cut else "as it is"
            print(f"automm predict and automm verify, {where}", flush=True)
            automm = [*cut, str(python.with_name("automm"))]
            answers = home / "answers.csv"
            _call([*automm, "predict", home / "bundle", files.test, "--proba", "--out", answers])
            _compare(answers, wanted, predictor.class_labels or [])
            _call([*automm, "verify", home / "bundle"])
        _flip_a_byte([str(python.with_name("automm"))], home / "bundle")
        _ask_for_training([str(python.with_name("automm"))], files.train, home)
    print("the wheel is whole")


def _install(home: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", home, ROOT]
    _call(build)
    (wheel,) = home.glob("automm_edge-*.whl")
    _call([sys.executable, "-m", "venv", home / "venv"])
    python = home / "venv" / "bin" / "python"
    constraints = ROOT / "requirements" / "dev.txt"
    retry = ["--retries", "8", "--timeout", "60"]
    here = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", *retry]
    _call([*here, "--constraint", constraints, f"{wheel}[cpu]"])
    return python


def _check_light(python: Path) -> None:
    """Nothing of what training needs came along, and no checkout is imported."""
    code = (
        "import importlib.util as u, sys, automm_serve, automm;"
        f"print([n for n in {HEAVY!r} if u.find_spec(n)], automm.__file__, automm_serve.__file__)"
    )
    said = _call([python, "-P", "-c", code])
    if not said.startswith("[] ") or str(ROOT) in said:
        sys.exit(f"the new environment is not the wheel alone: {said}")


def _cut_network() -> tuple[str, ...]:
    """The command that runs another without any network interface; none where it may not."""
    for command in (("unshare", "-n"), ("unshare", "-r", "-n")):
        if shutil.which(command[0]) and not subprocess.run([*command, "true"]).returncode:
            return command
    sys.exit("unshare may not make a network namespace here: run this as root, or allow it")


def _compare(answers: Path, wanted: np.ndarray, classes: Sequence[object]) -> None:
    with answers.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = np.array([[float(row[f"probability_{name}"]) for name in classes] for row in rows])
    difference = float(np.abs(found - wanted).max())
    print(f"  {len(rows)} rows, largest difference {difference:.1e}, allowed {TOLERANCE:.0e}")
    if found.shape != wanted.shape or not difference <= TOLERANCE:
        sys.exit("the wheel does not answer as the predictor that was trained")


def _flip_a_byte(automm: list[str], bundle: Path) -> None:
    path = max(bundle.rglob("*.onnx"), key=lambda found: found.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = subprocess.run([*automm, "verify", str(bundle)], capture_output=True, text=True)
    if done.returncode != 1 or path.name not in done.stdout + done.stderr:
        sys.exit(f"verify does not name {path.name}, in which a byte was flipped: {done.stdout}")
    print(f"  a flipped byte in {path.name} is named")


def _ask_for_training(automm: list[str], train: Path, home: Path) -> None:
    command = [*automm, "train", str(train), "--label", LABEL, "--out", str(home / "none")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 1 or "pip install 'automm-edge[train]'" not in done.stderr:
        sys.exit(f"automm train does not say what it lacks: {done.stderr}")
    print("  automm train names the extra that it lacks")


def _call(command: Sequence[object]) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
