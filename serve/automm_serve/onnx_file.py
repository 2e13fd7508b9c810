"""What must be known of an ONNX file before ONNX Runtime sees it: its IR version, its other files.

Only the outer fields of the protobuf messages are read, by skipping from field to field, so that a
graph of gigabytes costs as little as a small one, and no package is needed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from automm_serve.errors import BundleError
from automm_serve.manifest import FileFacts, GraphFiles, check_inside

_MODEL_IR, _MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 1, 7, 20, 25
_GRAPH = {1: "node", 5: "tensor", 15: "sparse"}
_FUNCTION = {7: "node"}
_NODE = {5: "attribute"}
_ATTRIBUTE = {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"}
_SPARSE = {1: "tensor", 2: "tensor"}
_TRAINING = {1: "graph", 2: "graph"}
_WITHIN: Mapping[str, Mapping[int, str]] = {
    "model": {_MODEL_GRAPH: "graph", _MODEL_TRAINING: "training", _MODEL_FUNCTIONS: "function"},
    "graph": _GRAPH,
    "function": _FUNCTION,
    "node": _NODE,
    "attribute": _ATTRIBUTE,
    "sparse": _SPARSE,
    "training": _TRAINING,
}
"""Message -> number of a field -> the message in it, wherever a tensor can lie."""

_EXTERNAL_DATA = 13
_DEEPEST = 64
"""Graphs within graphs; protobuf itself goes to 100 messages."""

_MEND = "Copy the bundle anew from where it was exported, or export it again"


class _Listed(Protocol):
    """What is read of a manifest."""

    @property
    def graphs(self) -> Mapping[str, GraphFiles]: ...
    @property
    def files(self) -> Mapping[str, FileFacts]: ...


def read_ir_version(path: Path) -> int:
    """Return the IR version of an ONNX file.

    Raises:
        BundleError: It cannot be read, or is no ONNX file.
    """
    for number, value in _fields_of(path):
        if number == _MODEL_IR and isinstance(value, int):
            return value
    raise BundleError(where=str(path), what="it names no IR version", mend=_MEND)


def weight_files(path: Path) -> tuple[str, ...]:
    """Return the files beside an ONNX file that hold weights, as it names them, sorted.

    Raises:
        BundleError: It cannot be read, is no ONNX file, or names a file outside its folder.
    """
    try:
        with path.open("rb") as file, _map(file.fileno()) as data:
            found = sorted(set(_locations(data, 0, len(data), "model", 0)))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    for location in found:
        try:
            check_inside(location)
        except ValueError:
            what = f"its weights lie at {location!r}, which leads out of the bundle"
            raise BundleError(where=str(path), what=what, mend=_MEND) from None
    return tuple(found)


def check_weight_files(folder: Path, manifest: _Listed) -> None:
    """Look that all weights of all graphs are files of the bundle, which its digests cover.

    Args:
        folder: Of the bundle.
        manifest: Which names graphs and files; their sizes were compared already.

    Raises:
        BundleError: Weights lie outside the bundle, or in a file that it does not list.
    """
    for graph in manifest.graphs.values():
        for name in graph.files.values():
            for location in weight_files(folder / name):
                beside = f"{name.rpartition('/')[0]}/{location}"
                if beside not in manifest.files:
                    what = f"its weights lie in {location!r}, which is no file of the bundle"
                    raise BundleError(where=str(folder / name), what=what, mend=_MEND)


def _fields_of(path: Path) -> Iterator[tuple[int, int | tuple[int, int]]]:
    try:
        with path.open("rb") as file, _map(file.fileno()) as data:
            yield from _fields(data, 0, len(data))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _map(descriptor: int) -> mmap.mmap:
    """The file without its bytes; an empty one is a ValueError, as a damaged one is."""
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def _locations(data: mmap.mmap, start: int, end: int, message: str, depth: int) -> Iterator[str]:
    """Where the tensors of a message lie, if not in the file itself."""
    if depth > _DEEPEST:
        raise ValueError("its graphs are nested too deeply")
    for number, value in _fields(data, start, end):
        if isinstance(value, int):
            continue
        if message == "tensor":
            if number == _EXTERNAL_DATA:
                yield from _location(data, *value)
        elif number in _WITHIN[message]:
            yield from _locations(data, *value, _WITHIN[message][number], depth + 1)


def _location(data: mmap.mmap, start: int, end: int) -> Iterator[str]:
    """The value of an entry (field 2) whose key (field 1) is ``location``."""
    entry = {
        number: data[value[0] : value[1]]
        for number, value in _fields(data, start, end)
        if isinstance(value, tuple)
    }
    if entry.get(1) == b"location":
        yield entry.get(2, b"").decode()


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int | tuple[int, int]]]:
    """Each field of a message: its number, and its value or the place of its bytes.

    Raises:
        ValueError: The bytes are no protobuf message.
    """
    place = start
    while place < end:
        tag, place = _varint(data, place, end)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, place = _varint(data, place, end)
            yield number, value
            continue
        if kind == 2:
            size, place = _varint(data, place, end)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind} is none of ONNX")
        if size > end - place or number == 0:
            raise ValueError("it is cut off, or no ONNX file")
        yield number, (place, place + size)
        place += size


def _varint(data: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("it is cut off, or no ONNX file")


def _damaged(path: Path, error: Exception) -> BundleError:
    return BundleError(where=str(path), what=f"the graph cannot be read: {error}", mend=_MEND)
