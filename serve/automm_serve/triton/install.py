"""Makes the managed environment: Triton's pip server in a Python of its own.

It is no extra of this package, because the server's Python needs numpy below 2, and everything
else here has numpy 2.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from automm_serve.atomic import write_folder
from automm_serve.errors import ServerError
from automm_serve.triton.locate import PythonFacts, ServerParts, home, locate, probe
from automm_serve.triton.preflight import check_python

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
"""Every package of the environment with its version; `requirements/triton.txt` refers to it."""

PYTHONS = ("3.12", "3.11")
"""Versions for which the server has a stub and numpy below 2 has a wheel."""

LEAST_GLIBC = (2, 35)


def install(
    python: str | Path | None = None,
    *,
    replace: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> ServerParts:
    """Make the managed environment with pip; all or nothing.

    Args:
        python: Interpreter to make it with; a fitting one is looked for where None.
        replace: Make it anew where it is there.
        say: Is told what is done, a line each.

    Returns:
        Where the server lies now.

    Raises:
        ServerError: This machine cannot run the server, or pip failed.
        ConfigError: Something else is in the place.
    """
    place = home()
    if not replace and (place / "bin" / "python").exists():
        say(f"{place} is there already")
    else:
        check_system()
        base = find_python(python)
        say(f"making {place} with {base}")
        with write_folder(place, replace=replace, known_by="pyvenv.cfg") as scratch:
            _fill(base, scratch, say)
    parts = locate(place)
    check_python(parts, "cpu")
    return parts


def check_system() -> None:
    """Look whether the server's wheel runs on this system.

    Raises:
        ServerError: It does not.
    """
    library, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if sys.platform == "linux" and library == "glibc" and numbers >= LEAST_GLIBC:
        return
    raise ServerError(
        where="Triton",
        what=f"the pip server needs Linux with glibc 2.35, this is {platform.platform()}",
        mend="Use NVIDIA's container of Triton, or answer rows without a server",
        command="automm predict BUNDLE rows.csv",
    )


def find_python(given: str | Path | None = None) -> Path:
    """Return an interpreter that the server can embed.

    Args:
        given: The only one to look at; where None this process's own and those on the PATH.

    Raises:
        ServerError: There is none; the message says what is wrong with each.
    """
    if given is not None:
        candidates = [str(given)]
    else:
        on_path = (shutil.which(f"python{version}") for version in PYTHONS)
        candidates = [sys.executable, *filter(None, on_path)]
    faults = []
    for candidate in dict.fromkeys(candidates):
        try:
            fault = _fault(probe(Path(candidate), ("venv", "ensurepip")))
        except ServerError as error:
            fault = error.what
        if not fault:
            return Path(candidate)
        faults.append(f"{candidate} {fault}")
    raise ServerError(
        where="Triton",
        what="no fitting Python: " + "; ".join(faults),
        mend="Install Python 3.11 or 3.12 with a shared libpython, and name it",
        command="automm triton install --python PATH",
    )


def _fault(facts: PythonFacts) -> str:
    if facts.version not in PYTHONS:
        return f"is {facts.version}, and the server embeds {' and '.join(sorted(PYTHONS))}"
    if not facts.shared:
        return "is built without a shared libpython, which the server embeds"
    if facts.absent:
        return f"lacks {' and '.join(facts.absent)}"
    return ""


def _fill(base: Path, scratch: Path, say: Callable[[str], None]) -> None:
    # Links to the interpreter: a copied one would look for its library beside itself.
    _run([base, "-m", "venv", "--symlinks", scratch], "making the environment")
    say("installing the server (55 MB) and what the model needs, with pip")
    # --no-deps: nvidia-pytriton names packages that only its own Python layer imports, tokenizers
    # a client for a hub; REQUIREMENTS holds all that is imported.
    pip = [str(scratch / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    flags = ["--no-deps", "--only-binary", ":all:", "--requirement", str(REQUIREMENTS)]
    _run([*pip, *flags], "pip install")


def _run(command: Sequence[str | Path], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    except subprocess.TimeoutExpired as error:
        raise ServerError(
            where=what,
            what="it did not end within half an hour",
            mend="See that the package index can be reached, then run it again",
            command="automm triton install",
        ) from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise ServerError(
            where=what,
            what=" ".join(lines) or done.stderr.strip()[-500:] or f"it ends with {done.returncode}",
            mend="See that the package index can be reached, then run it again",
            command="automm triton install",
        )
