"""Makes the environments of this repository: ``python3 scripts/set_up.py [dev | numpy1]``.

Each step runs once, and again when what it depends on has changed; pip's output goes to a log. It
needs nothing but a Python, as it is what installs everything else, and looks for a suitable one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
OLDEST = (3, 11)
PIP = ("-m", "pip", "--disable-pip-version-check", "install", "--retries", "8", "--timeout", "60")
ATTEMPTS = 3
PAUSE_S = 10


class Step(NamedTuple):
    """One command of the new environment's Python.

    Attributes:
        title: What is happening, for whoever waits.
        arguments: Of the Python in the environment.
        reads: Files; when one changes, the step runs again.
        optional: Its failure is reported, and setting up goes on.
    """

    title: str
    arguments: tuple[str, ...]
    reads: tuple[str, ...] = ()
    optional: bool = False


class Lane(NamedTuple):
    """An environment: its folder, and the steps that fill it."""

    folder: str
    steps: tuple[Step, ...]


TRT = (
    # A part of [dev] on the machines that its wheels are for; asked for by name, it must come.
    Step(
        "TensorRT for RTX, which builds engines without a GPU (89 MB)",
        (*PIP, "--constraint", "requirements/dev.txt", "tensorrt-rtx-cu12"),
        ("requirements/dev.txt",),
        optional="rtx" not in os.environ.get("AUTOMM_REQUIRE", ""),
    ),
)
"""Steps of ``TRT=1``."""

LANES = {
    "dev": Lane(
        os.environ.get("VENV", ".venv"),
        (
            # By this name alone pip takes the build that suits the machine.
            Step("torch", (*PIP, "torch==2.13.0")),
            Step(
                "AutoMM Edge and its packages",
                (*PIP, "--constraint", "requirements/dev.txt", "--editable", ".[dev]"),
                ("pyproject.toml", "requirements/dev.txt"),
            ),
            Step(
                "pretrained weights (101 MB)",
                ("-m", "automm.cli.main", "weights", "install", "edge"),
                ("automm/report/weights.py",),
            ),
            Step(
                "Triton, in an environment of its own",
                ("-m", "automm.cli.main", "triton", "install"),
                ("serve/automm_serve/triton/requirements.txt",),
                optional="triton" not in os.environ.get("AUTOMM_REQUIRE", ""),
            ),
            *(TRT if os.environ.get("TRT") else ()),
        ),
    ),
    "numpy1": Lane(
        os.environ.get("VENV_NUMPY1", ".venv-numpy1"),
        (
            Step(
                "the runtime on numpy 1.26",
                (
                    *PIP,
                    *("--constraint", "requirements/base-numpy1.txt"),
                    *("--editable", ".[cpu,client,parquet,metrics]"),
                    *("pytest", "pytest-xdist", "hypothesis", "pandas"),
                ),
                ("pyproject.toml", "requirements/base-numpy1.txt"),
            ),
        ),
    ),
}


def main(name: str) -> int:
    """Make one environment, or bring it up to date; return the exit code."""
    lane = LANES[name]
    folder = ROOT / lane.folder
    done = _read_stamps(folder)
    due = [step for step in lane.steps if done.get(step.title) != _stamp(step)]
    if not due:
        return 0
    began = time.monotonic()
    if not _python(folder).exists():
        base = _choose_python()
        if base is None:
            print(
                "No Python from 3.11 on was found. Name one:\n    make setup PYTHON=/path/of/python"
            )
            return 1
        print(f"Making {lane.folder} with {base}")
        _make_venv(base, folder)
    print(f"Setting up {lane.folder}: this once. The next call is quick.")
    log = folder / "set_up.log"
    for number, step in enumerate(due, 1):
        if _run(step, f"  {number}/{len(due)} {step.title}", folder, log):
            done[step.title] = _stamp(step)
            (folder / "set_up.json").write_text(json.dumps(done, indent=2) + "\n")
        elif not step.optional:
            print(f"The whole log: {log}")
            return 1
    print(f"Set up in {time.monotonic() - began:.0f} s.\n")
    return 0


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _choose_python() -> str | None:
    """The Python that was named; else one that the Triton server can use too; else any."""
    named = os.environ.get("PYTHON")
    found = [named] if named else [sys.executable, "python3.12", "python3.11", "python3.13"]
    facts = {path: _probe(path) for path in map(shutil.which, found) if path}
    fit = [path for path, (version, _) in facts.items() if version >= OLDEST]
    # Triton's wheel has stubs up to 3.12 that work, and they load a shared libpython.
    best = [path for path in fit if facts[path][1] and facts[path][0] < (3, 13)]
    return next(iter([*best, *fit]), None)


def _probe(path: str) -> tuple[tuple[int, ...], bool]:
    """Version of a Python, and whether it is built with a shared library."""
    code = (
        "import sys, sysconfig; print(*sys.version_info[:2],"
        " int(bool(sysconfig.get_config_var('Py_ENABLE_SHARED'))))"
    )
    done = subprocess.run([path, "-c", code], capture_output=True, text=True)
    if done.returncode:  # a shim that names a version which is not there
        return (0, 0), False
    major, minor, shared = map(int, done.stdout.split())
    return (major, minor), bool(shared)


def _make_venv(base: str, folder: Path) -> None:
    made = subprocess.run([base, "-m", "venv", folder], capture_output=True)
    if made.returncode == 0:
        return
    # Debian's Python has venv without ensurepip; its pip can install one into the environment.
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([base, "-m", "venv", "--without-pip", folder], check=True)
    python = str(_python(folder))
    pip = [base, "-m", "pip", "--python", python, "install", "--quiet", "pip"]
    subprocess.run(pip, check=True)


def _read_stamps(folder: Path) -> dict[str, str]:
    path = folder / "set_up.json"
    if not path.is_file() or not _python(folder).exists():
        return {}
    stamps: dict[str, str] = json.loads(path.read_text())
    return stamps


def _stamp(step: Step) -> str:
    """A hash of all that the step's result depends on."""
    digest = hashlib.sha256(repr((ROOT, step.arguments)).encode())
    if "triton" in step.arguments:
        digest.update(os.environ.get("AUTOMM_TRITON_HOME", "").encode())
    for name in step.reads:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _run(step: Step, title: str, folder: Path, log: Path) -> bool:
    attempts = 1 if step.optional else ATTEMPTS
    for attempt in range(1, attempts + 1):
        began = time.monotonic()
        lines = _watch([str(_python(folder)), *step.arguments], title, log)
        took = f"{time.monotonic() - began:.0f} s"
        if lines is None:
            print(f"\r{title}: {took}\033[K" if sys.stdout.isatty() else f"{title}: {took}")
            return True
        print(f"\n{title}: failed after {took}.")
        print("\n".join(f"      {line}" for line in lines))
        if attempt < attempts:
            print(f"  Trying again in {PAUSE_S} s ({attempt + 1} of {attempts}).")
            time.sleep(PAUSE_S)
    if step.optional:
        print("  Going on without it: what needs it says so, and is left out.")
    return False


def _watch(command: list[str], title: str, log: Path) -> list[str] | None:
    """Run a command into the log, showing its last line; return its last lines if it fails."""
    tail: list[str] = []
    began = time.monotonic()
    pipe = subprocess.PIPE
    with (
        log.open("a") as file,
        subprocess.Popen(
            command, cwd=ROOT, stdout=pipe, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        for line in process.stdout or ():
            file.write(line)
            if line.startswith("WARNING: Location"):
                continue
            tail = [*tail, line.rstrip()][-12:]
            if sys.stdout.isatty():
                room = max(20, shutil.get_terminal_size().columns - len(title) - 10)
                seconds = time.monotonic() - began
                print(f"\r{title}: {seconds:.0f} s {line.strip()[:room]}\033[K", end="", flush=True)
    return tail if process.returncode else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "dev"))
