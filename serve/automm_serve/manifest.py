"""``bundle.json``: what a bundle holds, who made it, what was checked (docs/bundle-format.md)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from automm_serve.engines import Engine
from automm_serve.errors import BundleError
from automm_serve.precisions import PrecisionFigures
from automm_serve.tensors import TensorSpec

FORMAT = 3
"""Version that this release writes; it reads this one and every earlier one.

2 adds ``default_precision``, ``precisions``, ``lengths``, ``libraries`` and the ``engines`` of a
graph; 3 adds the ``threshold`` of an answer with two classes, in ``pipeline.json``."""

MANIFEST = "bundle.json"
REPOSITORY = "model_repository"
FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""What the folder of a model may be called: the same on every system, and safe in a URL."""

Where: TypeAlias = Literal["onnxruntime", "triton"]


class FileFacts(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the bundle, as it was written."""

    sha256: str
    size_bytes: int


class GraphFiles(Struct, frozen=True, forbid_unknown_fields=True):
    """A graph: its signature, and where it lies.

    Attributes:
        model: Name of its folder in the model repository, which is also its name on Triton.
        inputs: Tensors that go in.
        outputs: Tensors that come out.
        files: Precision -> path of the ONNX file; ``precisions.INT8_ENGINE`` is a key too.
        engines: Built from these files.
    """

    model: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    files: dict[str, str]
    engines: tuple[Engine, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a folder's name that no exporter gives."""
        if not FOLDER_NAME.fullmatch(self.model):
            raise ValueError(f"{self.model!r} is no name of a model")


class GoldenFiles(Struct, frozen=True, forbid_unknown_fields=True):
    """Rows and their answers, where they lie and how many there are."""

    rows: str
    answers: str
    count: int


class OutputParity(Struct, frozen=True, forbid_unknown_fields=True):
    """An output of a graph, torch against ONNX Runtime, over all cases.

    Attributes:
        graph: Name of the graph.
        output: Name of the tensor.
        cases: Feeds compared; they differ in rows, lengths and gaps, and none was traced.
        difference: Largest absolute one.
        tolerance: What it had to stay within.
    """

    graph: str
    output: str
    cases: int
    difference: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """The two agree."""
        return self.difference <= self.tolerance


class InputControl(Struct, frozen=True, forbid_unknown_fields=True):
    """An input of a graph that was changed, to see the outputs change.

    Attributes:
        graph: Name of the graph.
        input: Name of the tensor, with the slot of axis 1 where each has a meaning of its own.
        effect: Largest absolute change of an output; 0 where it has none.
    """

    graph: str
    input: str
    effect: float


class ColumnParity(Struct, frozen=True, forbid_unknown_fields=True):
    """A column of the answers, from raw rows, of the torch predictor and another one.

    Attributes:
        where: Who answered besides torch.
        program: That was asked.
        column: Of the answer.
        rows: Compared.
        difference: Largest absolute one of numbers; for words, the share of rows that differ.
        tolerance: What it had to stay within.
        ties: Rows whose words differ because their best classes are equally probable.
        precision: That the other one ran.
    """

    where: Where
    program: str
    column: str
    rows: int
    difference: float
    tolerance: float
    ties: int = 0
    precision: str = "fp32"

    @property
    def holds(self) -> bool:
        """The two agree."""
        return self.difference <= self.tolerance


class Parity(Struct, frozen=True, forbid_unknown_fields=True):
    """The certificate: what was compared with torch before the bundle was written.

    Attributes:
        outputs: Graph by graph.
        controls: That prove the comparison can fail.
        columns: From raw row to answer.
        not_run: What was not compared, and why.
    """

    outputs: tuple[OutputParity, ...] = ()
    controls: tuple[InputControl, ...] = ()
    columns: tuple[ColumnParity, ...] = ()
    not_run: tuple[str, ...] = ()


class Made(Struct, frozen=True, forbid_unknown_fields=True):
    """Who made the bundle. The only record that may differ when the same export runs again.

    Attributes:
        when: UTC, ISO 8601; ``SOURCE_DATE_EPOCH`` in the environment stands above the clock.
        system: Kernel and architecture.
        versions: Package -> version.
        data_sha256: Of the training rows; empty where it is not known.
    """

    when: str
    system: str
    versions: dict[str, str]
    data_sha256: str = ""


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of ``bundle.json``.

    Attributes:
        format: Version of the format.
        sha256: Of this file's bytes with this field empty.
        name: Of the model on Triton, and of its folder in the model repository.
        content_sha256: Of what answers: the pipeline and the graphs. Equal for equal answers.
        pipeline: Path of ``pipeline.json``.
        graphs: Graph -> signature and files.
        targets: Where the bundle can be served; the first is the default configuration.
        max_batch: Most rows of one request to Triton.
        golden: None where the rows were kept out.
        metrics: Of the trained predictor, as the trainer measured them.
        parity: The certificate.
        made: By whom and when.
        files: Path -> facts, for every file but this one.
        default_precision: What a session runs where none is asked for.
        precisions: Those beside fp32, with what they cost.
        lengths: Axis -> the sizes that a GPU pads it to, two at most: each costs a warm-up, a tuned
            shape and a CUDA graph. All sizes of the axis where it is not named.
        libraries: Folders of ``lib/``, such as ``cp312-x86_64``: the runtime itself, for a Python
            that lacks it.
    """

    format: int
    sha256: str
    name: str
    content_sha256: str
    pipeline: str
    graphs: dict[str, GraphFiles]
    targets: tuple[str, ...]
    max_batch: int
    golden: GoldenFiles | None
    metrics: dict[str, float]
    parity: Parity
    made: Made
    files: dict[str, FileFacts]
    default_precision: str = "fp32"
    precisions: dict[str, PrecisionFigures] = {}
    lengths: dict[str, tuple[int, ...]] = {}
    libraries: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what the exporter cannot have made; msgspec reports it with its place."""
        if not FOLDER_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a model")
        for path in self.paths():
            check_inside(path)
        unlisted = sorted(set(self.paths()) - self.files.keys())
        if unlisted:
            raise ValueError(f"{unlisted[0]!r} is used and not among the files")

    def paths(self) -> Iterator[str]:
        """Yield every path that the manifest names."""
        yield from self.files
        yield self.pipeline
        for graph in self.graphs.values():
            yield from graph.files.values()
            yield from (engine.path for engine in graph.engines)
        if self.golden is not None:
            yield self.golden.rows
            yield self.golden.answers


class _Version(Struct):
    format: int


def check_inside(path: str) -> None:
    """Refuse a path that could leave the folder it is relative to, on any system.

    Raises:
        ValueError: It is absolute, climbs, is not in its simplest form, or is no POSIX path.
    """
    pure = PurePosixPath(path)
    plain = bool(path) and not re.search(r"[\\:\x00-\x1f]", path)
    if not plain or pure.is_absolute() or ".." in pure.parts or str(pure) != path or path == ".":
        raise ValueError(f"the path {path!r} leaves the bundle")


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of ``bundle.json``, with its own digest filled in."""
    blank = _encode(msgspec.structs.replace(manifest, sha256=""))
    digest = hashlib.sha256(blank).hexdigest()
    return _encode(msgspec.structs.replace(manifest, sha256=digest))


def own_digest(raw: bytes, manifest: Manifest) -> str:
    """Return the digest that the bytes should name: theirs, with the named one taken out."""
    named = f'"sha256": "{manifest.sha256}"'.encode()
    return hashlib.sha256(raw.replace(named, b'"sha256": ""', 1)).hexdigest()


def read_manifest(folder: Path) -> tuple[bytes, Manifest]:
    """Return the bytes of a bundle's ``bundle.json`` and what they say.

    Raises:
        BundleError: It is not there, is not ours, is damaged, or is newer than this release.
    """
    path = folder / MANIFEST
    try:
        if path.is_symlink():
            raise BundleError(where=str(path), what="it is a symbolic link", mend=_COPY)
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            where=str(folder),
            what=f"there is no {MANIFEST}, so this is no bundle",
            mend="Give the folder that the export wrote",
        ) from None
    except OSError as error:
        raise BundleError(
            where=str(path), what=f"it cannot be read: {error.strerror}", mend=_COPY
        ) from error
    try:
        version = msgspec.json.decode(raw, type=_Version).format
        if version <= FORMAT:  # every format so far is read by the same structs
            return raw, msgspec.json.decode(raw, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(where=str(path), what=f"it is damaged: {error}", mend=_COPY) from error
    raise BundleError(
        where=str(path),
        what=f"the bundle has format {version}, and this release reads up to {FORMAT}",
        mend="Install a newer release",
        command="pip install --upgrade automm-edge",
    )


_COPY = "Copy the bundle anew from where it was exported, or export it again"


def _encode(manifest: Manifest) -> bytes:
    encoded = msgspec.json.encode(manifest, order="deterministic")
    return msgspec.json.format(encoded, indent=1) + b"\n"
