"""What is read of an ONNX file before ONNX Runtime sees it."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automm_serve.errors import BundleError
from automm_serve.onnx_file import read_ir_version, weight_files
from tests.automm_serve import frozen

GRAPH = next((frozen.V1 / "model_repository").glob("tiny__predict__*/1/model.onnx"))


def field(number: int, content: bytes | int) -> bytes:
    """A protobuf field: a number, or bytes."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def tensor(location: str) -> bytes:
    """A tensor whose data lie in a file."""
    entries = [(b"offset", b"0"), (b"location", location.encode()), (b"length", b"4")]
    return b"".join(field(13, field(1, key) + field(2, value)) for key, value in entries)


def test_the_ir_version_of_a_bundle_is_9_and_its_weights_lie_in_it():
    assert read_ir_version(GRAPH) == 9
    assert weight_files(GRAPH) == ()


@pytest.mark.parametrize(
    "place",
    [
        lambda t: field(7, field(5, t)),  # an initializer
        lambda t: field(7, field(1, field(5, field(5, t)))),  # a Constant
        lambda t: field(7, field(1, field(5, field(10, t)))),  # one of several in an attribute
        lambda t: field(7, field(1, field(5, field(6, field(5, t))))),  # in a branch of an If
        lambda t: field(7, field(1, field(5, field(11, field(5, t))))),
        lambda t: field(7, field(15, field(1, t))),  # the values of a sparse one
        lambda t: field(7, field(15, field(2, t))),  # its indices
        lambda t: field(7, field(1, field(5, field(22, field(1, t))))),
        lambda t: field(20, field(1, field(5, t))),  # a training graph
        lambda t: field(25, field(7, field(5, field(5, t)))),  # a function
    ],
    ids=lambda place: "",
)
def test_weights_are_found_wherever_a_tensor_can_lie(tmp_path, place):
    path = tmp_path / "model.onnx"
    path.write_bytes(field(1, 9) + place(tensor("a.data")) + place(tensor("b/c.data")))
    assert weight_files(path) == ("a.data", "b/c.data")
    path.write_bytes(field(1, 9) + place(tensor("../a.data")))
    with pytest.raises(BundleError, match="leads out of the bundle"):
        weight_files(path)


def test_another_entry_is_no_location(tmp_path):
    path = tmp_path / "model.onnx"
    entry = field(13, field(1, b"checksum") + field(2, b"/etc/passwd"))
    path.write_bytes(field(1, 9) + field(7, field(5, entry)))
    assert weight_files(path) == ()


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\x0b", b"\x3a\x7f\x01", b"\x0f"])
def test_what_is_no_onnx_file_is_one_error(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    for read in (read_ir_version, weight_files):
        with pytest.raises(BundleError, match=r"model\.onnx: the graph cannot be read"):
            read(path)


def test_an_absent_file_and_one_without_a_version_are_named(tmp_path):
    with pytest.raises(BundleError, match="cannot be read"):
        read_ir_version(tmp_path / "absent.onnx")
    (tmp_path / "model.onnx").write_bytes(field(2, b"maker"))
    with pytest.raises(BundleError, match="names no IR version"):
        read_ir_version(tmp_path / "model.onnx")


def test_graphs_nested_without_end_are_refused(tmp_path):
    content = tensor("a.data")
    for _ in range(200):
        content = field(1, field(5, field(6, content)))
    (tmp_path / "model.onnx").write_bytes(field(7, content))
    with pytest.raises(BundleError, match="nested too deeply"):
        weight_files(tmp_path / "model.onnx")


@given(st.binary(max_size=200) | st.integers(0, 2000))
def test_any_bytes_give_an_answer_or_one_error(tmp_path_factory, content):
    path = Path(tmp_path_factory.getbasetemp()) / "any.onnx"
    if isinstance(content, int):  # a real graph that was cut off
        content = GRAPH.read_bytes()[:content]
    path.write_bytes(content)
    for read in (read_ir_version, weight_files):
        with suppress(BundleError):  # nothing else may come
            assert read(path) is not None
