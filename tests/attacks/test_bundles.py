"""Damaged, foreign and hostile bundles: one clear error each, and nothing read from outside."""

import hashlib
from pathlib import Path

import msgspec
import onnx
import pytest

from automm_serve.bundle import Bundle
from automm_serve.errors import BundleError
from automm_serve.manifest import FORMAT, MANIFEST
from automm_serve.triton.repository import open_served
from automm_serve.verify import verify
from tests.automm_serve import frozen

GRAPH = next((frozen.V1 / "model_repository").glob("tiny__predict__*")).name
ONNX = f"model_repository/{GRAPH}/1/model.onnx"
PIPELINE = "model_repository/tiny/1/pipeline.json"


@pytest.fixture
def bundle(tmp_path):
    return frozen.copy(tmp_path)


def refused(bundle: Path, match: str) -> str:
    """Both readers refuse the bundle, and say the same."""
    with pytest.raises(BundleError, match=match) as raised:
        Bundle.open(bundle).predictor()
    report = verify(bundle)
    assert not report.ok
    return str(raised.value)


def test_a_newer_bundle_is_refused_by_name(bundle):
    frozen.rewrite(bundle, format=FORMAT + 1, unheard_of={"a": 1})
    message = refused(bundle, f"format {FORMAT + 1}, and this release reads up to {FORMAT}")
    assert message.endswith("pip install --upgrade automm-edge")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"format": "1"}', b'{"format": 1}', b'{"format": 0}',
     b'{"name": "a"}', b"\xff\xfe", b"[" * 100_000, b'{"format": -1}', b'{"format": 1e99}'],
)  # fmt: skip
def test_a_damaged_or_foreign_manifest_is_one_error(bundle, content):
    (bundle / MANIFEST).write_bytes(content)
    assert MANIFEST in refused(bundle, "damaged")


@pytest.mark.parametrize("name", [ONNX, PIPELINE, "golden/rows.jsonl"])
def test_a_truncated_file_is_named_at_once(bundle, name):
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content[: len(content) // 2])
    assert name in refused(bundle, "bytes, and had")


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "model_repository/../../outside"])
@pytest.mark.parametrize("field", ["files", "pipeline", "golden", "graphs"])
def test_a_path_that_leaves_the_bundle_is_refused(bundle, field, path):
    (bundle.parent / "outside").write_bytes(b"secret")
    raw = msgspec.json.decode((bundle / MANIFEST).read_bytes())
    facts = {"sha256": "0" * 64, "size_bytes": 6}
    raw["files"][path] = facts
    if field == "pipeline":
        raw["pipeline"] = path
    elif field == "golden":
        raw["golden"]["rows"] = path
    elif field == "graphs":
        raw["graphs"]["predict"]["files"]["fp32"] = path
    frozen.rewrite(bundle, **raw)
    refused(bundle, "leaves the bundle")


def test_a_path_that_is_used_but_not_listed_is_refused(bundle):
    (bundle / "other.json").write_bytes(b"{}")
    frozen.rewrite(bundle, pipeline="other.json")
    refused(bundle, "not among the files")


@pytest.mark.parametrize("name", [ONNX, PIPELINE, "golden/answers.json", MANIFEST])
def test_a_link_in_place_of_a_file_is_refused(bundle, name):
    outside = bundle.parent / "outside"
    outside.write_bytes((bundle / name).read_bytes())
    (bundle / name).unlink()
    (bundle / name).symlink_to(outside)
    refused(bundle, "symbolic link")


def test_a_link_in_place_of_a_folder_is_refused(bundle):
    folder = bundle / "model_repository" / GRAPH
    folder.rename(bundle.parent / "elsewhere")
    folder.symlink_to(bundle.parent / "elsewhere")
    refused(bundle, f"model_repository/{GRAPH} is a symbolic link")


@pytest.mark.parametrize("name", ["../up", "a/b", "", "a b", ".hidden", "x" * 200])
def test_a_model_whose_name_is_no_folder_is_refused(bundle, name):
    frozen.rewrite(bundle, name=name)
    refused(bundle, "is no name of a model")


def test_a_pipeline_that_runs_an_unknown_graph_is_refused(bundle):
    frozen.rewrite(bundle, graphs={})
    refused(bundle, "graph 'predict', which is not listed")


def test_code_that_is_not_ours_is_named_though_its_digest_fits(bundle):
    code = bundle / "model_repository" / "tiny" / "1" / "model.py"
    text = code.read_bytes().replace(b"import", b"Import")
    code.write_bytes(text)
    raw = msgspec.json.decode((bundle / MANIFEST).read_bytes())
    facts = {"sha256": hashlib.sha256(text).hexdigest(), "size_bytes": len(text)}
    raw["files"]["model_repository/tiny/1/model.py"] = facts
    frozen.rewrite(bundle, **raw)
    assert "is not the code of this release" in verify(bundle).problems[0]


def test_code_of_another_size_is_named_too(bundle):
    code = "model_repository/tiny/1/model.py"
    (bundle / code).write_bytes((bundle / code).read_bytes() + b"import os\n")
    _accept(bundle, code)
    assert "is not the code of this release" in verify(bundle).problems[0]
    with pytest.raises(BundleError, match=r"its model\.py is not the one"):
        open_served(bundle, "cpu")


def test_a_graph_with_another_signature_is_refused_when_it_is_loaded(bundle):
    model = onnx.load(bundle / ONNX)
    model.graph.input[0].name = "renamed_x0"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == "image_pixels":
                node.input[place] = "renamed_x0"
    content = model.SerializeToString()
    (bundle / ONNX).write_bytes(content)
    _accept(bundle, ONNX)
    refused(bundle, "the graph reads")


@pytest.mark.parametrize(
    ("location", "match"),
    [
        ("../../../../outside", "leads out of the bundle"),
        ("/etc/passwd", "leads out of the bundle"),
        ("a/../../../../../outside", "leads out of the bundle"),
        ("C:\\outside", "leads out of the bundle"),
        ("", "leads out of the bundle"),
        ("unlisted.data", "which is no file of the bundle"),
    ],
)
def test_weights_outside_the_bundle_are_refused_before_onnx_runtime_sees_the_graph(
    bundle, location, match
):
    (bundle.parent / "outside").write_bytes(b"\0" * 4096)
    (bundle / ONNX).with_name("unlisted.data").write_bytes(b"\0" * 4096)
    _move_weights(bundle, location)
    with pytest.raises(BundleError, match=match):
        Bundle.open(bundle)  # loads nothing
    with pytest.raises(BundleError, match=match):
        open_served(bundle, "cpu")
    refused(bundle, match)


def test_weights_beside_the_graph_are_taken_if_the_manifest_lists_them_and_no_link_is_there(bundle):
    beside = ONNX.replace("model.onnx", "model.onnx.data")
    (bundle / beside).write_bytes(_move_weights(bundle, "model.onnx.data"))
    _accept(bundle, beside)
    assert verify(bundle).ok, verify(bundle).problems
    (bundle / beside).rename(bundle.parent / "outside")
    (bundle / beside).symlink_to(bundle.parent / "outside")
    refused(bundle, "symbolic link")


def _move_weights(bundle: Path, location: str) -> bytes:
    """Let the largest tensor lie in another file, and return its bytes."""
    model = onnx.load(bundle / ONNX)
    tensor = max(model.graph.initializer, key=lambda t: t.ByteSize())
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    (bundle / ONNX).write_bytes(model.SerializeToString())
    _accept(bundle, ONNX)
    return bytes(content)


def _accept(bundle: Path, name: str) -> None:
    """Let the manifest name a file as it is now."""
    content = (bundle / name).read_bytes()
    raw = msgspec.json.decode((bundle / MANIFEST).read_bytes())
    raw["files"][name] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
    }
    frozen.rewrite(bundle, **raw)
