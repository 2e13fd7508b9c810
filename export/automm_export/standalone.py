"""``lib/``: the runtime and what it needs, inside the bundle, for a server that has nothing of it.

A stock container of Triton has Python and numpy. What `NAME/1/model.py` imports beside them is laid
into ``lib/<tag>/``, unpacked from the wheels that pip gives, in the versions of this environment:
what preprocesses there must give the tensors that it gives here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from email.parser import HeaderParser
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

from msgspec import Struct

import automm_serve
from automm_serve.errors import ConfigError, ExportError

LIB = "lib"
NOTICES = "NOTICES"
PACKAGES = ("pillow", "tokenizers", "msgspec")
"""What the runtime imports beside numpy, which every server has. ``tokenizers`` declares a client
of a hub, which nobody imports: no package brings another one along."""

EXAMPLES = ("cp312-x86_64", "cp311-x86_64", "cp312-aarch64")
_TAG = re.compile(r"cp3(\d{1,2})-(x86_64|aarch64)")
_GLIBCS = range(17, 36)  # manylinux_2_17 (2012) to 2_35, that of the oldest container in use
_LICENCES = re.compile(r"(?i)^(licen[cs]e|copying|notice|authors)")
_LEAST = 11
"""Oldest Python 3 that the runtime runs on."""


class Package(Struct, frozen=True):
    """What lies in a folder of ``lib/``.

    Attributes:
        name: Of the distribution.
        version: Of it.
        licence: As its maker states it.
        texts: Of the licences, relative to the bundle.
    """

    name: str
    version: str
    licence: str
    texts: tuple[str, ...]


def check_tag(tag: str) -> str:
    """Return the version of Python that a tag names: ``3.12`` of ``cp312-x86_64``.

    Raises:
        ConfigError: It is no tag, or of a Python that the runtime does not run on.
    """
    match = _TAG.fullmatch(tag)
    if match is None:
        what = "it is no tag of a Python and a processor"
    elif int(match[1]) < _LEAST:
        what = f"it is Python 3.{match[1]}, and the runtime needs 3.{_LEAST} or newer; containers "
        what += "of Triton have 3.12 from 24.12 on"
    else:
        return f"3.{match[1]}"
    raise ConfigError(
        where=f"--standalone {tag}", what=what, mend=f"Give tags such as {', '.join(EXAMPLES)}"
    )


def write_lib(
    bundle: Path, tags: Sequence[str], say: Callable[[str], None] = lambda line: None
) -> tuple[str, ...]:
    """Lay a folder of ``lib/`` into a bundle for each tag, and its notices beside it.

    Args:
        bundle: Its folder, which is being written.
        tags: Such as ``cp312-x86_64``; the same one twice counts once.
        say: Is told of each folder and its size.

    Returns:
        The tags, which are the names of the folders too.

    Raises:
        ConfigError: A tag is none.
        ExportError: Pip finds no wheel of a package for it.
    """
    tags = tuple(dict.fromkeys(tags))
    pythons = {tag: check_tag(tag) for tag in tags}
    packages: dict[str, list[Package]] = {}
    for tag, python in pythons.items():
        folder = bundle / LIB / tag
        folder.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix="automm_wheels_") as wheels:
            _download(tag, python, Path(wheels))
            for wheel in sorted(Path(wheels).glob("*.whl")):
                _unpack(wheel, folder)
        _copy_runtime(folder)
        packages[tag] = list(_packages(bundle, folder))
        say(f"{LIB}/{tag}: {folder_size(folder) / 1e6:.1f} MB")
    if packages:
        text = _notices(packages)
        (bundle / NOTICES).write_text(text, encoding="utf-8", newline="\n")
    return tags


def folder_size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _download(tag: str, python: str, folder: Path) -> None:
    """Let pip choose the wheels; where it looks is its own matter (PIP_FIND_LINKS)."""
    machine = tag.partition("-")[2]
    platforms = [f"manylinux_2_{glibc}_{machine}" for glibc in reversed(_GLIBCS)]
    flags = ["--no-deps", "--only-binary=:all:", "--implementation", "cp"]
    flags += ["--python-version", python, "--dest", str(folder)]
    for platform in (*platforms, f"manylinux2014_{machine}"):
        flags += ["--platform", platform]
    pins = [f"{name}=={version(name)}" for name in PACKAGES]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download"]
    try:
        done = subprocess.run(
            [*command, *flags, *pins], capture_output=True, text=True, timeout=1800
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            where=f"--standalone {tag}",
            what="pip did not end within half an hour",
            mend="See that the package index can be reached, and export again",
        ) from error
    if done.returncode == 0:
        return
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    missing = re.search(r"requirement (\S+) \(from versions: ([^)]*)\)", done.stderr)
    if missing and missing[2] != "none":
        what = f"there is no wheel of {missing[1]} for it, but one of {missing[2].split(', ')[-1]}"
        mend = "Export in an environment that has this version: what is in lib/ must be what "
        mend += "the answers were compared with"
    else:
        what = " ".join(errors) or done.stderr.strip()[-500:] or "pip download fails"
        mend = "See that the package index can be reached, or gather the wheels beforehand and set "
        mend += "PIP_NO_INDEX=1 and PIP_FIND_LINKS"
    raise ExportError(where=f"--standalone {tag}", what=what, mend=mend)


def _unpack(wheel: Path, folder: Path) -> None:
    """The files of a wheel where Python looks for them; scripts and headers are left out."""
    with ZipFile(wheel) as archive:
        for entry in archive.infolist():
            parts = PurePosixPath(entry.filename).parts
            if parts and parts[0].endswith(".data"):
                if len(parts) < 3 or parts[1] not in ("purelib", "platlib"):
                    continue
                parts = parts[2:]
            if entry.is_dir() or ".." in parts:
                continue
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)


def _copy_runtime(folder: Path) -> None:
    source = Path(automm_serve.__file__).parent
    shutil.copytree(
        source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    for text in _own_licences():
        target = folder / source.name / text.name
        target.write_bytes(text.read_bytes())


def _own_licences() -> Iterator[Path]:
    try:
        files = distribution("automm-edge").files or []
    except PackageNotFoundError:  # run from a source tree that was not installed
        return
    for file in files:
        path = Path(str(file.locate()))
        if _LICENCES.match(path.name) and path.is_file():
            yield path


def _packages(bundle: Path, folder: Path) -> Iterator[Package]:
    for metadata in sorted(folder.glob("*.dist-info/METADATA")):
        fields = HeaderParser().parsestr(metadata.read_text(encoding="utf-8"))
        stated = fields["License-Expression"] or fields["License"] or ""
        listed = [
            line.rpartition(" :: ")[2]
            for line in fields.get_all("Classifier", [])
            if line.startswith("License ::")
        ]
        licence = stated.partition("\n")[0] or ", ".join(listed) or "see its texts"
        yield Package(fields["Name"], fields["Version"], licence, _texts(bundle, metadata.parent))
    try:
        ours = version("automm-edge")
    except PackageNotFoundError:
        ours = "from source"
    texts = _texts(bundle, folder / "automm_serve")
    yield Package("automm-edge (automm_serve)", ours, "Apache-2.0", texts)


def _texts(bundle: Path, folder: Path) -> tuple[str, ...]:
    return tuple(
        path.relative_to(bundle).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (_LICENCES.match(path.name) or path.parent.name == "licenses")
    )


def _notices(packages: dict[str, list[Package]]) -> str:
    lines = [
        "This bundle carries software of others, each under its own licence. The texts lie where",
        "they are named here.",
    ]
    for tag, found in packages.items():
        lines += ["", f"{LIB}/{tag}"]
        ours = found[-1].texts  # Apache-2.0, as tokenizers is, whose wheel has no text of it
        for package in found:
            lines.append(f"  {package.name} {package.version}: {package.licence}")
            apache = "apache" in package.licence.lower()
            lines += [f"    {text}" for text in package.texts or (ours if apache else ())]
    return "\n".join(lines) + "\n"
