"""Finds a Triton server on this machine, and looks whether its Python can run our model.

In this order: the path that was given, `tritonserver` on the PATH (a container), the managed
environment of `automm triton install`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
from msgspec import Struct

from automm_serve.errors import ServerError

HOME_VARIABLE = "AUTOMM_TRITON_HOME"
INSTALL = "automm triton install"
RUNTIME = ("numpy", "msgspec", "PIL", "tokenizers")
"""What `automm_serve` imports in the server's Python; `onnxruntime` too where it runs the graph."""

_PROBE = """
import ctypes, importlib.util as util, json, os, sys, sysconfig
def folder(name):
    spec = util.find_spec(name)
    return spec.submodule_search_locations[0] if spec else None
value = sysconfig.get_config_var
library = value("INSTSONAME") or ""
places = [os.path.join(value("LIBDIR") or "", part) for part in ("", value("MULTIARCH") or "")]
place = next((p for p in places if os.path.exists(os.path.join(p, library))), "")
try:
    from numpy import __version__ as numpy
except ImportError:
    numpy = ""
print(json.dumps({
    "version": "%d.%d" % sys.version_info[:2], "numpy": numpy, "pytriton": folder("pytriton") or "",
    "automm_serve": folder("automm_serve") or "",
    "shared": ".so" in library and bool(value("Py_ENABLE_SHARED")), "library_folder": place,
    "absent": [n for n in sys.argv[1:] if util.find_spec(n) is None]}))
"""


class PythonFacts(Struct, frozen=True):
    """What one interpreter says of itself.

    Attributes:
        version: ``"3.11"``.
        numpy: Version of its numpy; empty where it has none.
        pytriton: Folder of that package, which carries the server; empty where it is absent.
        automm_serve: Folder of a copy of our runtime that would be imported before ours.
        shared: It is built on a shared libpython, as the stub is that embeds it.
        library_folder: Where that library lies; empty where the loader finds it by itself.
        absent: Modules that were asked for and are not there.
    """

    version: str
    numpy: str
    pytriton: str
    automm_serve: str
    shared: bool
    library_folder: str
    absent: tuple[str, ...]


class ServerParts(Struct, frozen=True):
    """Where the parts of one server lie.

    Attributes:
        origin: How it was found, in the user's words.
        binary: The program `tritonserver`.
        python: The interpreter that its Python backend is to embed.
        facts: What that interpreter says of itself.
        backends: Folders of the backends, one a folder.
        stub: The stub of this Python, where it lies apart from its backend (the pip wheel).
        release: Year and month of the container's release, (24, 10); None where it is unknown.
    """

    origin: str
    binary: Path
    python: Path
    facts: PythonFacts
    backends: tuple[Path, ...]
    stub: Path | None
    release: tuple[int, int] | None


def home() -> Path:
    """Return the folder of the managed environment, whether it is there or not."""
    given = os.environ.get(HOME_VARIABLE)
    if given:
        return Path(given).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "automm" / "triton"


def locate(server: str | Path | None = None) -> ServerParts:
    """Return the server to start.

    Args:
        server: Path of a `tritonserver`, of an environment that has nvidia-pytriton, or of its
            interpreter; None looks on the PATH, then for the managed environment.

    Raises:
        ServerError: There is none, or its Python cannot be used.
    """
    if server is not None:
        return _given(Path(server).expanduser())
    on_path = shutil.which("tritonserver")
    if on_path:
        return _standing(Path(on_path), "tritonserver on the PATH")
    managed = home()
    if (managed / "bin" / "python").exists():
        return _packaged(managed / "bin" / "python", f"the managed environment {managed}")
    raise ServerError(
        where="Triton",
        what=f"this machine has no server: none on the PATH, none in {managed}",
        mend="Install one, or name one with --server. To install it",
        command=INSTALL,
    )


def probe(python: Path, modules: tuple[str, ...] = RUNTIME) -> PythonFacts:
    """Ask an interpreter what it is and what it has.

    Raises:
        ServerError: It does not run.
    """
    try:
        # -P keeps the working folder out of sys.path, as the stub does.
        done = subprocess.run(
            [python, "-P", "-c", _PROBE, *modules], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unusable(python, str(error)) from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it exits with {done.returncode}"]
        raise _unusable(python, lines[-1])
    return msgspec.json.decode(done.stdout, type=PythonFacts)


def _given(path: Path) -> ServerParts:
    origin = f"--server {path}"
    if path.is_dir():
        for python in (path / "bin" / "python", path / "bin" / "python3"):
            if python.exists():
                return _packaged(python, origin)
        path = path / "bin" / "tritonserver"
    if not path.is_file():
        raise ServerError(
            where=origin,
            what=f"there is no file {path}",
            mend="Pass the path of a tritonserver, or of an environment with nvidia-pytriton",
        )
    if path.name.startswith("python"):
        return _packaged(path, origin)
    return _standing(path, origin)


def _packaged(python: Path, origin: str) -> ServerParts:
    """The server inside the wheel nvidia-pytriton, whose stubs lie apart."""
    facts = probe(python)
    if not facts.pytriton:
        raise ServerError(
            where=origin,
            what="the package nvidia-pytriton, which holds the server, is not installed there",
            mend="Make the managed environment instead",
            command=INSTALL,
        )
    package = Path(facts.pytriton) / "tritonserver"
    stub = package / "python_backend_stubs" / facts.version / "triton_python_backend_stub"
    if not stub.exists():
        known = ", ".join(sorted(path.name for path in stub.parents[1].glob("3.*")))
        raise ServerError(
            where=origin,
            what=f"the server has no stub for Python {facts.version}, only for {known}",
            mend="Make the environment with Python 3.11 or 3.12",
            command=INSTALL,
        )
    backends = tuple(sorted(path for path in (package / "backends").iterdir() if path.is_dir()))
    # nvidia-pytriton 0.7.0 carries Triton 2.51.0, of the code line of the container 24.10.
    return ServerParts(
        origin, package / "bin" / "tritonserver", python, facts, backends, stub, (24, 10)
    )


def _standing(binary: Path, origin: str) -> ServerParts:
    """A server as a container has it: backends beside `bin`, the Python on the PATH."""
    python = shutil.which("python3")
    if python is None:
        raise ServerError(
            where=origin,
            what="there is no python3 on the PATH, without which Triton hangs while it loads",
            mend="Install Python with numpy, msgspec, pillow, tokenizers and onnxruntime",
        )
    # A link on the PATH stands for the program; a tree of links stands for itself.
    places = [path.parents[1] / "backends" for path in (binary.absolute(), binary.resolve())]
    root = next((place for place in places if place.is_dir()), places[-1])
    if not (root / "python").is_dir():
        raise ServerError(
            where=origin,
            what=f"the server has no Python backend in {root}",
            mend="Use a container that has it (its name ends in -py3), or the pip server",
            command=INSTALL,
        )
    backends = tuple(sorted(path for path in root.iterdir() if path.is_dir()))
    found = re.fullmatch(r"(\d\d)\.(\d\d)", os.environ.get("NVIDIA_TRITON_SERVER_VERSION", ""))
    release = (int(found[1]), int(found[2])) if found else None
    facts = probe(Path(python))
    return ServerParts(origin, binary, Path(python), facts, backends, None, release)


def _unusable(python: Path, what: str) -> ServerError:
    return ServerError(
        where=str(python),
        what=f"this Python cannot be run: {what}",
        mend="Make the managed environment anew",
        command=f"{INSTALL} --force",
    )
