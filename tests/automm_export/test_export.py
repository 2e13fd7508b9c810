"""From a model to a bundle: the answers of torch, or nothing."""

from pathlib import Path

import msgspec
import onnx
import pytest
import torch

from automm_export import export as module
from automm_export.export import Exportable, ExportOptions, export
from automm_export.session import TorchSession
from automm_serve.agreement import compare_answers
from automm_serve.bundle import Bundle, load
from automm_serve.errors import ConfigError, DataError, ExportError
from automm_serve.manifest import Parity
from automm_serve.predictor import LocalPredictor
from automm_serve.verify import file_digest, files_in, verify
from tests.automm_export.tiny import PARTS, TinyGraph, export_tiny, exportable, rows

SUBSETS = [[part for bit, part in enumerate(PARTS) if number >> bit & 1] for number in range(1, 8)]


def torch_predictor(model: Exportable) -> LocalPredictor:
    return LocalPredictor(
        model.pipeline, {name: TorchSession(graph, 1) for name, graph in model.graphs.items()}
    )


def contents(folder: Path) -> dict[str, str]:
    return {name: file_digest(folder / name) for name in files_in(folder)}


def test_a_bundle_answers_as_torch_does_and_verifies(exported):
    path, _ = exported
    expected, found = torch_predictor(exportable()).run(rows()), load(path).run(rows())
    answer = exportable().pipeline.programs["predict"].answer
    for parity in compare_answers(
        "onnxruntime", "predict", answer, expected.columns, found.columns
    ):
        assert parity.holds
        assert parity.rows == 12
    assert verify(path).ok


@pytest.mark.parametrize("parts", SUBSETS, ids="+".join)
@pytest.mark.parametrize("label", ["classes", "values"])
def test_all_subsets_of_modalities_export_and_match(tmp_path, parts, label):
    report = export(exportable(label=label, parts=parts), tmp_path / "bundle")
    assert all(o.holds for o in report.parity.outputs)
    assert {c.column for c in report.parity.columns} >= {"features"}
    assert verify(tmp_path / "bundle").ok


def test_the_certificate_holds_figures_for_golden_and_test_rows_and_what_was_not_run(exported):
    path, report = exported
    assert Bundle.open(path).manifest.parity == report.parity
    assert sorted((c.where, c.program, c.column, c.rows) for c in report.parity.columns) == [
        ("onnxruntime", program, column, count)
        for program, column in (
            ("embed", "features"),
            ("predict", "kind"),
            ("predict", "probabilities"),
        )
        for count in (12, 20)
    ]
    assert report.parity.not_run == ("triton: not run (--check-triton)",)


def test_the_report_names_stages_files_and_targets(exported):
    path, report = exported
    assert list(report.seconds) == [
        "onnx", "parity", "golden rows", "repository", "answers", "digests",
    ]  # fmt: skip
    assert report.targets == ("cpu_ort", "cpu")
    assert set(report.sizes_bytes) == set(files_in(path)) - {"bundle.json"}


def test_the_same_export_gives_the_same_bytes(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    export_tiny(tmp_path / "one")
    export_tiny(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    export_tiny(tmp_path / "three")  # at another time: only the manifest says so
    assert {
        name for name, digest in contents(tmp_path / "three").items()
        if contents(tmp_path / "one")[name] != digest
    } == {"bundle.json"}  # fmt: skip


def test_other_weights_give_another_graph_folder_and_another_content_hash(exported, tmp_path):
    path, _ = exported
    one = Bundle.open(path).manifest
    two = Bundle.open(export_tiny(tmp_path / "two", seed=1)).manifest
    assert one.graphs["predict"].model != two.graphs["predict"].model
    assert one.content_sha256 != two.content_sha256


def test_the_graph_is_what_servers_in_use_take(exported):
    path, _ = exported
    graph = Bundle.open(path).manifest.graphs["predict"]
    model = onnx.load(path / graph.files["fp32"])
    assert model.ir_version == 9
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 20)]
    onnx.checker.check_model(model, full_check=True)
    dims = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert dims["text_ids"] == ["batch", "text_length"]
    assert dims["image_pixels"] == ["batch", 3, 8, 8, 3]
    assert dims["probabilities"] == ["batch", 3]
    assert str(module.__file__).rsplit("/", 3)[0].encode() not in model.SerializeToString()


def test_training_mode_does_not_reach_the_graph(tmp_path):
    class WithDropout(TinyGraph):
        def forward(self, tensors):
            found = super().forward(tensors)
            name = self.outputs[0].name
            return {**found, name: torch.nn.functional.dropout(found[name], 0.5, self.training)}

    model = exportable()
    graph = WithDropout(model.pipeline.processors, model.pipeline.programs["predict"].answer)
    graph.train()
    export(model._replace(graphs={"predict": graph}), tmp_path / "bundle")
    assert verify(tmp_path / "bundle").ok


class Broken(TinyGraph):
    """Another answer in torch than in ONNX: it asks whether it is being traced."""

    off = 1e-3

    def forward(self, tensors):
        found = super().forward(tensors)
        if not torch.compiler.is_exporting():
            found["features"] = found["features"] + self.off
        return found


def broken(kind: type[TinyGraph] = Broken) -> Exportable:
    model = exportable()
    graph = kind(model.pipeline.processors, model.pipeline.programs["predict"].answer)
    return model._replace(graphs={"predict": graph})


def test_a_mismatch_fails_the_export_and_leaves_an_old_bundle_as_it_was(exported, tmp_path):
    export_tiny(tmp_path / "bundle")
    before = contents(tmp_path / "bundle")
    with pytest.raises(ExportError, match=r"output 'features'.*differs from torch by 0\.001"):
        export(broken(), tmp_path / "bundle", ExportOptions(replace=True))
    with pytest.raises(ExportError):
        export(broken(), tmp_path / "new")
    assert contents(tmp_path / "bundle") == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_answer_that_is_not_finite_fails_the_export(tmp_path):
    class Infinite(Broken):
        off = float("inf")

    with pytest.raises(ExportError, match="differs from torch by inf"):
        export(broken(Infinite), tmp_path / "bundle")


class Deaf(TinyGraph):
    """Does not listen to the second number, nor to the first picture."""

    def forward(self, tensors):
        numbers = tensors["tabular_numbers"] * torch.tensor([1.0, 0.0])
        slots = torch.tensor([0.0, 1.0, 1.0])
        pixels = tensors["image_pixels"] * slots[:, None, None, None]
        return super().forward({**tensors, "tabular_numbers": numbers, "image_pixels": pixels})


def test_an_input_without_effect_is_named_by_its_column_and_fails(tmp_path):
    with pytest.raises(ExportError, match="--allow-unused-inputs") as raised:
        export(broken(Deaf), tmp_path / "bundle")
    assert "image_pixels[:, 0] (of 'front'), tabular_numbers[:, 1] (of 'size')" in raised.value.what
    assert list(tmp_path.iterdir()) == []


def test_an_input_without_effect_may_be_allowed_and_is_reported(tmp_path):
    report = export(broken(Deaf), tmp_path / "b", ExportOptions(allow_unused_inputs=True))
    unused = [control.input for control in report.parity.controls if control.effect == 0]
    assert unused == ["image_pixels[:, 0]", "tabular_numbers[:, 1]"]


def test_a_graph_that_freezes_the_batch_is_refused(tmp_path):
    class Frozen(TinyGraph):
        def forward(self, tensors):
            found = super().forward(tensors)
            rows = len(found["features"])  # the trap: a constant of the export
            return {**found, "features": found["features"] + torch.zeros(rows, 1)}

    with pytest.raises(ExportError, match="graph 'predict'"):
        export(broken(Frozen), tmp_path / "bundle")


def test_golden_rows_can_be_left_out_and_then_nothing_of_them_is_in_the_bundle(tmp_path):
    model = exportable()._replace(golden={})
    export(model, tmp_path / "bundle", ExportOptions(golden={}))
    manifest = Bundle.open(tmp_path / "bundle").manifest
    assert manifest.golden is None
    assert {c.rows for c in manifest.parity.columns} == {12}  # the calibration rows, which stay
    assert verify(tmp_path / "bundle").not_run == ["golden rows: the bundle has none"]
    warmup = tmp_path / "bundle" / "model_repository" / "tiny" / "warmup"
    assert all(b"cat" not in path.read_bytes() for path in warmup.iterdir())


def test_no_rows_at_all_still_export(tmp_path):
    model = exportable()._replace(golden={}, calibration={})
    report = export(model, tmp_path / "bundle")
    assert report.parity.columns == ()
    assert verify(tmp_path / "bundle").ok


def test_a_golden_row_that_cannot_be_written_is_named(tmp_path):
    bad = rows(3)
    bad["front"] = [None, "no/absent.png", None]
    with pytest.raises(DataError, match=r"golden rows, row 1: column 'front'.*absent\.png"):
        export(exportable(), tmp_path / "bundle", ExportOptions(golden=bad))
    assert list(tmp_path.iterdir()) == []


def test_optional_lifts_what_training_required(exported, tmp_path):
    column = Bundle.open(exported[0]).pipeline.schema.columns[2]
    assert (column.name, column.required) == ("title", True)
    export(exportable(), tmp_path / "b", ExportOptions(optional=("title",), name="other"))
    bundle = Bundle.open(tmp_path / "b")
    assert not bundle.pipeline.schema.columns[2].required
    assert bundle.manifest.name == bundle.pipeline.name == "other"
    assert (tmp_path / "b" / "model_repository" / "other" / "1" / "pipeline.json").is_file()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (ExportOptions(optional=("titel",)), "'titel'.*but it has 'title'"),
        (ExportOptions(name="a/b"), "name 'a/b'"),
        (ExportOptions(name="a__b"), "name 'a__b'"),
        (ExportOptions(targets=("gpu_trd",)), "no such target"),
    ],
)
def test_a_wrong_option_is_refused_before_any_work(tmp_path, options, match):
    with pytest.raises(ConfigError, match=match):
        export(exportable(), tmp_path / "bundle", options)
    assert list(tmp_path.iterdir()) == []


def test_weights_beyond_a_protobuf_lie_beside_the_graph_and_are_checked_too(tmp_path):
    path = export_tiny(tmp_path / "bundle", options=ExportOptions(largest_file=100))
    beside = [name for name in Bundle.open(path).manifest.files if name.endswith(".onnx.data")]
    assert len(beside) == 1
    assert verify(path).ok
    content = bytearray((path / beside[0]).read_bytes())
    content[10] ^= 1
    (path / beside[0]).write_bytes(content)
    assert beside[0] in verify(path).problems[0]


def test_the_report_is_json():
    report = module.Report("b", "n", {"onnx": 1.0}, {"f": 1}, Parity(), ("cpu",))
    assert msgspec.json.decode(msgspec.json.encode(report), type=module.Report) == report
