"""Does a bundle answer as it should under the ONNX Runtime of another release? It is run there.

``automm verify BUNDLE --target triton:25.10`` makes an environment once, with that container's
ONNX Runtime and its kind of numpy, and answers the golden rows in it, by this very runtime.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
from msgspec import Struct

from automm_serve.atomic import write_folder
from automm_serve.bundle import Bundle
from automm_serve.cache import cache_folder
from automm_serve.devices import runnable_precisions
from automm_serve.errors import AutoMMError, ConfigError, ServerError
from automm_serve.manifest import ColumnParity
from automm_serve.precisions import CPU_FILES
from automm_serve.releases import Release, check_graph_file, find_release, not_known

OURS = Path(__file__).resolve().parent
PREPROCESSES = ("pillow", "tokenizers", "msgspec")
"""Packages of this process whose versions the environment gets too: the tensors must be equal."""

NUMPY_1 = "1.26.4"
"""Last of its line, and what the containers' Python has; wheels up to Python 3.12."""

_PYTHONS = ("3.11", "3.12", "3.13")
"""Interpreters that this runtime runs on."""

_CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from automm_serve.verify_release import answer_here
answer_here(sys.argv[2])
"""


class Requirements(Struct, frozen=True):
    """What an environment is made of.

    Attributes:
        onnxruntime: Version.
        numpy: Version.
        others: Package -> version, of what preprocesses.
    """

    onnxruntime: str
    numpy: str
    others: dict[str, str]

    def lines(self) -> list[str]:
        """As pip takes them."""
        pins = {"onnxruntime": self.onnxruntime, "numpy": self.numpy, **self.others}
        return [f"{name}=={number}" for name, number in pins.items()]


class ReleaseReport(Struct, frozen=True):
    """What was found.

    Attributes:
        ok: All answers are as they should be.
        target: The release.
        problems: One line each.
        versions: Of what answered: python, onnxruntime, numpy and the rest.
        golden: The answers, compared with those of the export.
        notes: What is not known of the release, and what it does not tell.
    """

    ok: bool
    target: str
    problems: list[str]
    versions: dict[str, str]
    golden: tuple[ColumnParity, ...]
    notes: tuple[str, ...]


class _Answered(Struct, frozen=True):
    """What the process in the environment prints."""

    versions: dict[str, str]
    golden: tuple[ColumnParity, ...] = ()
    error: str = ""


def verify_release(
    path: str | Path,
    target: str,
    python: str | Path | None = None,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> ReleaseReport:
    """Answer the golden rows of a bundle under the ONNX Runtime of a release.

    Args:
        path: Of the bundle.
        target: ``triton:25.10``.
        python: Interpreter to make the environment with; this process's own where None.
        say: Is told what is done, a line each.

    Raises:
        ConfigError: The release, or its ONNX Runtime, is not known, or the bundle has no rows.
        BundleError: The bundle is damaged, or a graph is too new for the release.
        ServerError: The environment cannot be made; the message says what could.
    """
    release = find_release(target)
    bundle = Bundle.open(path)
    requirements = required(release)
    for name in graph_files(bundle):
        check_graph_file(release, bundle.path / name, name)
    if bundle.manifest.golden is None:
        raise ConfigError(
            where=f"bundle {path}",
            what="it holds no golden rows, so that there is nothing to answer",
            mend="Export it without --golden none",
        )
    base = Path(python) if python else Path(sys.executable)
    environment = make_environment(requirements, base, say=say)
    say(f"answering the golden rows with ONNX Runtime {requirements.onnxruntime}")
    found = answer_in(environment, bundle.path)
    problems = [found.error] if found.error else []
    problems += [
        f"{g.precision}, program {g.program!r}, column {g.column!r} differs by "
        f"{g.difference:.2g}, where {g.tolerance:.2g} is allowed"
        for g in found.golden
        if not g.holds
    ]
    notes = list(release.notes)
    if release.python and not found.versions.get("python", "").startswith(f"{release.python}."):
        notes.append(
            f"{release.name} has Python {release.python}, and {found.versions.get('python')} "
            "answered here: name another with --python."
        )
    return ReleaseReport(
        not problems, release.name, problems, found.versions, found.golden, tuple(notes)
    )


def graph_files(bundle: Bundle) -> list[str]:
    """Return the ONNX files of a bundle, in all precisions."""
    files = {name for graph in bundle.manifest.graphs.values() for name in graph.files.values()}
    return sorted(files)


def required(release: Release) -> Requirements:
    """Return what stands for a release on a machine without it.

    Raises:
        ConfigError: Its ONNX Runtime is not known.
    """
    if release.onnxruntime is None:
        raise not_known(release, "its version of ONNX Runtime")
    numpy = version("numpy") if release.flags.numpy_below_2 is False else NUMPY_1
    return Requirements(release.onnxruntime, numpy, {name: version(name) for name in PREPROCESSES})


def make_environment(
    requirements: Requirements,
    base: Path,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Return the Python of an environment that has these packages; it is made once.

    Args:
        requirements: With their versions; never others.
        base: Interpreter to make it with.
        say: Is told what is done.

    Raises:
        ServerError: The interpreter does not run, or a package has no wheel for it.
    """
    running = _run([base, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], str(base))
    named = f"onnxruntime-{requirements.onnxruntime}-numpy-{requirements.numpy}-cp{running.strip()}"
    place = cache_folder("verify") / named
    python = place / "bin" / "python"
    pins = place / "requirements.txt"
    wanted = "\n".join(requirements.lines()) + "\n"
    if python.exists() and pins.is_file() and pins.read_text(encoding="utf-8") == wanted:
        return python
    say(f"making {place}, once")
    with write_folder(place, replace=True, known_by="pyvenv.cfg") as scratch:
        _run([base, "-m", "venv", "--symlinks", scratch], "making the environment")
        # --no-deps: what onnxruntime declares beside numpy belongs to its tools.
        pip = [str(scratch / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        flags = ["install", "--no-deps", "--only-binary", ":all:", *requirements.lines()]
        try:
            done = subprocess.run(
                [*pip, *flags], capture_output=True, text=True, timeout=1800, env=_environment()
            )
        except subprocess.TimeoutExpired as error:
            raise _failed("pip install", str(error)) from error
        if done.returncode:
            raise _no_wheel(done.stderr, running.strip())
        (scratch / "requirements.txt").write_text(wanted, encoding="utf-8")
    return python


def answer_in(python: Path, bundle: Path) -> _Answered:
    """Answer the golden rows of a bundle in another interpreter, by this very runtime.

    Raises:
        ServerError: It dies, or says nothing that can be read.
    """
    with tempfile.TemporaryDirectory(prefix="automm_verify_") as folder:
        # A link to us alone: all else of this environment must stay out of the other's path.
        (Path(folder) / "automm_serve").symlink_to(OURS, target_is_directory=True)
        said = _run([python, "-c", _CHILD, folder, bundle.resolve()], str(python), cwd=folder)
    try:
        return msgspec.json.decode(said.splitlines()[-1], type=_Answered)
    except (IndexError, msgspec.MsgspecError) as error:
        raise ServerError(
            where=str(python),
            what=f"it answered what cannot be read: {said[-300:]!r}",
            mend="Remove the folder of that environment, and verify again",
        ) from error


def answer_here(path: str) -> None:
    """Answer the golden rows in this process, and print what came of it as one line of JSON."""
    from automm_serve.verify import answer_golden

    versions = {name: version(name) for name in ("onnxruntime", "numpy", *PREPROCESSES)}
    versions["python"] = ".".join(map(str, sys.version_info[:3]))
    try:
        bundle = Bundle.open(path)
        golden = [
            parity
            for precision in runnable_precisions(bundle.manifest, CPU_FILES)
            for parity in answer_golden(bundle, precision)
        ]
        found = _Answered(versions, tuple(golden))
    except AutoMMError as error:
        found = _Answered(versions, error=str(error))
    sys.stdout.write("\n" + msgspec.json.encode(found).decode() + "\n")


def _run(command: Sequence[str | Path], what: str, cwd: str | None = None) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=1800, cwd=cwd, env=_environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(what, str(error)) from error
    if done.returncode:
        raise _failed(what, done.stderr.strip()[-500:] or f"it ends with {done.returncode}")
    return done.stdout


def _environment() -> dict[str, str]:
    """This one without what the caller's shell says about its own Python."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {**kept, "PYTHONNOUSERSITE": "1"}


def _failed(what: str, why: str) -> ServerError:
    return ServerError(
        where=what, what=why, mend="Name another interpreter with --python, or mend this one"
    )


def _no_wheel(said: str, python: str) -> ServerError:
    """Pip found none: say what has one, as far as pip told. Nothing else is taken instead."""
    match = re.search(r"requirement (\S+)==(\S+) \(from versions: ([^)]*)\)", said)
    if match is None:
        errors = [line for line in said.splitlines() if line.startswith("ERROR")]
        return ServerError(
            where="pip install",
            what=" ".join(errors) or said.strip()[-500:] or "it fails",
            mend="See that the package index can be reached, then run it again",
        )
    package, wanted, listed = match[1], match[2], match[3].split(", ")
    near = _nearest(wanted, listed)
    pythons = [name for name in _PYTHONS if name != python]
    return ServerError(
        where=f"{package} {wanted}",
        what=f"there is no wheel of it for Python {python}"
        + (f"; the nearest version that has one is {near}" if near else ", nor of any version"),
        mend="Answers of another version would say nothing about this one. Name another "
        f"interpreter ({' or '.join(pythons)}) with --python",
    )


def _nearest(wanted: str, versions: Sequence[str]) -> str | None:
    def place(text: str) -> int:
        major, minor, patch, *_ = (*map(int, re.findall(r"\d+", text)), 0, 0)
        return (major * 1000 + minor) * 1000 + patch

    plain = [text for text in versions if re.fullmatch(r"\d+(\.\d+)*", text)]
    return min(plain, key=lambda text: abs(place(text) - place(wanted)), default=None)
