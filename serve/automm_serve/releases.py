"""What is inside a Triton container or a JetPack: the versions that a bundle meets there.

The facts lie in ``data/targets.json``, each release with its source. What no source said is null,
and whoever needs it is told that it is not known; nothing is guessed.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from msgspec import Struct

from automm_serve.errors import BundleError, ConfigError, near_name
from automm_serve.onnx_file import read_ir_version

FILE = Path(__file__).with_name("data") / "targets.json"

_NAME = re.compile(r"(triton|jetpack):(\d+(?:\.\d+)+)")


class Bulletin(Struct, frozen=True, forbid_unknown_fields=True):
    """Published holes of the server.

    Attributes:
        id: Number or month of the bulletin.
        fixed_in: First release of the container without them.
        what: What they are.
    """

    id: str
    fixed_in: str
    what: str


class Flags(Struct, frozen=True, forbid_unknown_fields=True):
    """Ways of a release; null where they are not known.

    Attributes:
        numpy_below_2: The Python of its backend has numpy 1, and needs it.
        config_names: It knows ``--model-config-name``, by which a target is chosen.
        precision_mode_fp16: Its TensorRT can be told to build in fp16; without it, fp16 must be in
            the graph.
    """

    numpy_below_2: bool | None
    config_names: bool | None
    precision_mode_fp16: bool | None


class Release(Struct, frozen=True, forbid_unknown_fields=True):
    """A container of Triton, or a JetPack.

    Attributes:
        name: ``triton:25.10`` or ``jetpack:6.2``.
        server: Version of the server itself.
        python: Version that its Python backend embeds.
        onnxruntime: Version of its ONNX Runtime backend.
        highest_ir: Highest IR version of a graph that this one loads.
        tensorrt: Version, or the leading part that is known.
        cuda: Version.
        flags: Its ways.
        notes: What the figures do not say.
        source: Where they come from.
        open_bulletins: Holes that are published and not closed in it; None where nobody said.
    """

    name: str
    server: str | None
    python: str | None
    onnxruntime: str | None
    highest_ir: int | None
    tensorrt: str | None
    cuda: str | None
    flags: Flags
    notes: tuple[str, ...]
    source: str
    open_bulletins: tuple[Bulletin, ...] | None = None

    @property
    def version(self) -> tuple[int, ...]:
        """The numbers of the name: ``(25, 10)``."""
        return _numbers(self.name.partition(":")[2])


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    """``checked`` is the day on which the bulletins were looked up."""

    checked: str
    bulletins: tuple[Bulletin, ...]
    releases: tuple[Release, ...]


def releases() -> dict[str, Release]:
    """Return all that are known, oldest first, by name."""
    return _read()


def find_release(name: str) -> Release:
    """Return a release by its name, such as ``triton:25.10``.

    Raises:
        ConfigError: Nothing is known of it; the known ones and the nearest are named.
    """
    known = _read()
    if name in known:
        return known[name]
    near = _nearest(name, known)
    raise ConfigError(
        where=f"target {name!r}",
        what="nothing is known of such a release"
        + (f"; the nearest that is known is {near!r}" if near else ""),
        mend=f"Choose one of {', '.join(known)}",
    )


def check_ir(release: Release, ir_version: int, where: str) -> None:
    """Look that a release loads graphs of an IR version.

    Args:
        release: Where the graph shall run.
        ir_version: Of the graph.
        where: Its file, for the message.

    Raises:
        BundleError: It does not; file, version and the highest that it takes are named.
        ConfigError: Nobody knows what it takes.
    """
    if release.highest_ir is None:
        raise not_known(release, "the highest IR version that it loads")
    if ir_version > release.highest_ir:
        raise BundleError(
            where=where,
            what=f"the graph has IR version {ir_version}, and {release.name} (ONNX Runtime "
            f"{release.onnxruntime or 'of unknown version'}) loads {release.highest_ir} at most",
            mend="Export the bundle again: the exporter writes IR version 9, which all load",
        )


def check_graph_file(release: Release, path: Path, where: str = "") -> None:
    """Look that a release loads an ONNX file, by its IR version.

    Raises:
        BundleError: It does not, or the file cannot be read.
        ConfigError: Nobody knows what it takes.
    """
    check_ir(release, read_ir_version(path), where or str(path))


def check_tensorrt(release: Release, version: str) -> None:
    """Look that a release reads the plans of a TensorRT version.

    Args:
        release: Where the plan shall run.
        version: Of the builder, ``10.13.3.9``. It is compared as far as the release's is known.

    Raises:
        ConfigError: The release has another version, or nobody knows which.
    """
    if release.tensorrt is None:
        raise not_known(release, "its version of TensorRT")
    known = _numbers(release.tensorrt)
    if _numbers(version)[: len(known)] != known:
        raise ConfigError(
            where=f"target {release.name!r}",
            what=f"it has TensorRT {release.tensorrt}, and the builder here is {version}; "
            "a plan is read by the version that built it, alone",
            mend=f"Build with TensorRT {release.tensorrt}, best in that container itself",
        )


def not_known(release: Release, what: str) -> ConfigError:
    """Make the error for a fact that no source gave."""
    return ConfigError(
        where=f"target {release.name!r}",
        what=f"{what} is not known" + "".join(f". {note.rstrip('.')}" for note in release.notes),
        mend="Name a release of which it is known",
    )


def _read() -> dict[str, Release]:
    file = msgspec.json.decode(FILE.read_bytes(), type=_File)
    return {
        release.name: msgspec.structs.replace(release, open_bulletins=_open(release, file))
        for release in sorted(file.releases, key=lambda r: (r.name[0] == "j", r.version))
    }


def _open(release: Release, file: _File) -> tuple[Bulletin, ...] | None:
    if not release.name.startswith("triton:"):
        return None
    return tuple(b for b in file.bulletins if release.version < _numbers(b.fixed_in))


def _nearest(name: str, known: dict[str, Release]) -> str | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return near_name(name, known)
    wanted = _month(_numbers(match[2]))
    same = [other for other in known if other.startswith(f"{match[1]}:")]
    return min(same, key=lambda other: abs(_month(known[other].version) - wanted), default=None)


def _month(version: tuple[int, ...]) -> float:
    """A number that grows with the version as months do: 24.12 is next to 25.01."""
    major, minor, *rest = (*version, 0)
    return major * 12 + minor + sum(rest) / 100


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
