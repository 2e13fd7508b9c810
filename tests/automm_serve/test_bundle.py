"""Opening a bundle, with nothing but the runtime: these tests run under the server's numpy, too."""

import pytest

from automm_serve.agreement import compare_answers, relative_of
from automm_serve.bundle import Bundle, load
from automm_serve.errors import BundleError, ConfigError
from automm_serve.golden import ANSWERS, ROWS, read_answers, read_rows
from automm_serve.manifest import MANIFEST, check_inside
from automm_serve.pictures import pictures_of
from tests.automm_serve import frozen


@pytest.mark.parametrize(
    ("path", "number", "precision"),
    [(frozen.V1, 1, "fp32"), (frozen.V2, 2, "fp32"), (frozen.V2, 2, "fp16")],
)
def test_the_frozen_bundle_of_each_format_opens_and_answers_as_it_did(path, number, precision):
    bundle = Bundle.open(path)
    assert bundle.manifest.format == number
    rows = read_rows(path / ROWS, bundle.pipeline.schema)
    expected = read_answers(path / ANSWERS).programs["predict"]
    found = bundle.predictor("cpu", precision=precision).run(rows).columns
    answer = bundle.pipeline.programs["predict"].answer
    relative = relative_of(bundle.manifest, precision)
    compared = compare_answers("onnxruntime", "predict", answer, expected, found, relative)
    assert all(parity.holds for parity in compared)


def test_the_frozen_bundle_of_format_2_says_what_format_1_could_not():
    manifest = Bundle.open(frozen.V2).manifest
    assert manifest.default_precision == "fp16"
    assert set(manifest.precisions) == {"fp16", "bf16"}
    assert manifest.lengths == {"text_length": (16, 48)}
    plan, rtx = manifest.graphs["predict"].engines
    assert (plan.builder, plan.precision, plan.capabilities) == ("tensorrt", "fp16", ("8.6",))
    assert rtx.profiles[0].axes["text_length"] == (16, 32, 48)
    # Format 1 is read by the same structs, with all in fp32.
    before = Bundle.open(frozen.V1).manifest
    assert (before.default_precision, before.precisions, before.lengths) == ("fp32", {}, {})


def test_golden_rows_come_back_with_pictures_gaps_and_types():
    bundle = Bundle.open(frozen.V1)
    rows = read_rows(frozen.V1 / ROWS, bundle.pipeline.schema)
    assert rows["front"][0] is None
    assert [len(pictures_of(cell)) for cell in rows["front"][:3]] == [0, 1, 2]
    assert all(isinstance(picture, bytes) for picture in pictures_of(rows["front"][2]))
    assert rows["age"][:3] == [20.0, 23.0, None]
    assert rows["colour"][:3] == ["red", "blue", None]


def test_load_is_open_and_predictor(tmp_path):
    predictor = load(frozen.copy(tmp_path))
    answers = predictor.run({"title": ["a cat"]})
    assert answers.columns["kind"][0] in ("cat", "dog", "mouse")
    assert len(answers.warnings) == 6


def test_a_bundle_may_lie_anywhere_and_is_not_written_to(tmp_path):
    bundle = frozen.copy(tmp_path / "a folder with spaces, and ü")
    before = {path: path.stat().st_mtime_ns for path in bundle.rglob("*")}
    load(bundle).run({"title": ["a cat"]})
    assert {path: path.stat().st_mtime_ns for path in bundle.rglob("*")} == before


def test_another_device_is_refused_by_name():
    with pytest.raises(ConfigError, match="device 'tpu'"):
        load(frozen.V1, device="tpu")


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a/../../x", "", ".", "a//b", "./a", "C:/x", "a\\b", "..", "a/", "x\0"],
)
def test_a_path_that_could_leave_the_bundle_is_refused(path):
    with pytest.raises(ValueError, match="leaves the bundle"):
        check_inside(path)


@pytest.mark.parametrize("path", ["a", "a/b.json", "..a/b..c", "model_repository/n__g__1/1/m.onnx"])
def test_a_plain_path_is_taken(path):
    check_inside(path)


def test_a_folder_that_is_no_bundle_is_named(tmp_path):
    with pytest.raises(BundleError, match=rf"{tmp_path}: there is no {MANIFEST}"):
        load(tmp_path)
