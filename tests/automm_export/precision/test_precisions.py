"""Each form of a graph: what is in it, what it answers, when a tower or the whole is refused."""

import re

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto

from automm_export.exportable import ExportOptions
from automm_export.graph import module_of
from automm_export.precision.forms import Bf16, CpuInt8, EngineInt8, Fp16
from automm_export.precision.judge import Judge
from automm_export.precision.make import make_precisions, settle
from automm_serve.errors import ConfigError, ExportError
from automm_serve.precisions import FP32, INT8_ENGINE
from automm_serve.sessions.onnxruntime import OnnxRuntimeSession
from tests.automm_export.precision.small import OneTower, Two, model, write

OPTIONS = ExportOptions(precisions=("fp16", "bf16", "int8"), trt=True, max_drop=5.0)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write(tmp_path_factory.mktemp("plain"), model())


@pytest.fixture(scope="module")
def made(plain):
    """``(graph files, figures)`` with every form."""
    graphs, figures = make_precisions(plain.folder, plain.model, plain.graphs, OPTIONS)
    return graphs["predict"], figures


def judge_of(source):
    return Judge(source.model, lambda: source.sessions(FP32))


def run(source, file, numbers):
    graph = source.graphs["predict"]
    session = OnnxRuntimeSession(source.folder / file, graph.inputs, graph.outputs)
    return session.run({"tabular_numbers": np.array(numbers, np.float32)})


def test_every_form_has_its_file_and_its_figures(plain, made):
    graph, figures = made
    assert set(figures) == {"fp16", "bf16", "int8", INT8_ENGINE}
    assert set(graph.files) == {FP32, *figures}
    for key, path in graph.files.items():
        assert (plain.folder / path).name == ("model.onnx" if key == FP32 else f"model.{key}.onnx")
        found = onnx.load(str(plain.folder / path))
        onnx.checker.check_model(found, full_check=True)
        assert found.ir_version == 9
    for one in figures.values():
        assert one.metric == "accuracy"
        assert (one.rows, one.fp32) == (200, 1.0)
        assert one.drop_low <= one.drop <= one.drop_high
        assert 0 < one.difference < 0.5
        msgspec.json.decode(msgspec.json.encode(one), type=type(one))
    assert not list(plain.folder.glob(".*"))  # no trial is left behind
    assert not list((plain.folder / graph.files[FP32]).parent.glob(".*"))


def test_fp16_answers_as_fp32_within_its_digits_and_a_changed_input_does_not(plain, made):
    graph, _ = made
    numbers = [[5.1e5, 4.2e5], [np.nan, 6.3e5]]
    wanted = run(plain, graph.files[FP32], numbers)
    found = run(plain, graph.files["fp16"], numbers)
    other = run(plain, graph.files["fp16"], [[5.2e5, 4.2e5], [np.nan, 6.1e5]])
    for name, tensor in wanted.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], tensor, atol=5e-3)
        assert np.abs(other[name] - tensor).max() > 1e-2


def test_every_node_is_named_after_its_module_once(plain):
    nodes = onnx.load(str(plain.path("predict"))).graph.node
    names = [node.name for node in nodes]
    assert len(set(names)) == len(names)
    homes = {module_of(name) for name in names}
    # The exporter computes once what both towers compute alike: their scaling.
    assert homes == {"", "left", "left.scale", "left.layer", "right", "right.layer", "right.out",
                     "head"}  # fmt: skip
    assert all(node.name.startswith("graph/") for node in nodes if node.op_type == "Softmax")
    assert not any(name.startswith("graph/graph") or "node_" in name for name in names)


@pytest.mark.parametrize(
    ("key", "code"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)]
)
def test_imputing_scaling_and_softmax_stay_in_32_bits(plain, made, key, code):
    graph, _ = made
    found = onnx.shape_inference.infer_shapes(onnx.load(str(plain.folder / graph.files[key])))
    types = {
        v.name: v.type.tensor_type.elem_type
        for v in (*found.graph.value_info, *found.graph.input, *found.graph.output)
    }
    types |= {t.name: t.data_type for t in found.graph.initializer}
    for node in found.graph.node:
        path = module_of(node.name)  # empty for the graph's own softmax
        is_kept = not path or path.endswith("scale")
        floats = [types[name] for name in (*node.input, *node.output) if types[name] in (1, code)]
        if node.op_type != "Cast" and floats:
            assert set(floats) == {TensorProto.FLOAT if is_kept else code}, node.name
    # A raw number of 500,000 is infinite in fp16: no cast stands between it and the scaling.
    readers = [node for node in found.graph.node if "tabular_numbers" in node.input]
    assert readers
    assert all(node.op_type != "Cast" for node in readers)


def test_a_constant_of_bf16_is_rounded_from_fp32_and_not_cut_to_the_reach_of_fp16(tmp_path):
    source = write(tmp_path, model(Two(weight=7e4)))
    path = tmp_path / "bf16.onnx"
    Bf16(source).write("predict", source.towers, path)
    constants = [
        onnx.numpy_helper.to_array(tensor).astype(np.float32)
        for tensor in onnx.load(str(path)).graph.initializer
        if tensor.data_type == TensorProto.BFLOAT16
    ]
    assert max(float(np.abs(array).max()) for array in constants) == pytest.approx(7e4, rel=4e-3)


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (Two(factor=1e5), "node 'right.out/"),
        (Two(weight=7e4), r"constant .* reaches 70000, and fp16 ends at 65504"),
    ],
    ids=["activation", "constant"],
)
def test_a_tower_that_would_overflow_stays_in_fp32_by_name(tmp_path, graph, says):
    source = write(tmp_path, model(graph))
    judge = judge_of(source)
    chosen, figures = settle(Fp16(source), source.towers, judge, 100.0)
    assert {tower.name for tower in chosen} == {"left", "head"}
    assert figures.towers == {"left": "fp16", "right": FP32, "head": "fp16"}
    assert list(figures.reasons) == ["right"]
    assert "overflow" in figures.reasons["right"]
    assert re.search(says, figures.reasons["right"])
    _, bf16 = settle(Bf16(source), source.towers, judge, 100.0)
    assert set(bf16.towers.values()) == {"bf16"}  # it reaches as far as fp32


def test_the_minus_infinity_of_a_mask_is_no_overflow(tmp_path):
    source = write(tmp_path, model(Two(masked=True)))
    _, figures = settle(Fp16(source), source.towers, judge_of(source), 1.0)
    assert not figures.reasons
    path = tmp_path / "fp16.onnx"
    Fp16(source).write("predict", source.towers, path)
    numbers = [[5.1e5, 4.2e5], [4.1e5, 6.3e5]]
    fp32 = run(source, source.graphs["predict"].files[FP32], numbers)
    found = run(source, path.name, numbers)
    np.testing.assert_allclose(found["features"], fp32["features"], atol=5e-3)


def test_what_loses_too_much_is_refused_with_the_figure_and_not_written(tmp_path):
    source = write(tmp_path, model(OneTower(), outliers=True))
    options = ExportOptions(precisions=("int8",), max_drop=0.0)
    before = sorted(tmp_path.rglob("*"))
    says = (
        r"precision int8: it loses \d+\.\d+ points where 0 may be lost: accuracy .*, fp32 1, on 200"
    )
    with pytest.raises(ExportError, match=says):
        make_precisions(tmp_path, source.model, source.graphs, options)
    assert sorted(tmp_path.rglob("*")) == before
    generous = msgspec.structs.replace(options, max_drop=100.0)  # the control: nothing else refuses
    _, figures = make_precisions(tmp_path, source.model, source.graphs, generous)
    assert figures["int8"].drop > 1


def test_a_precision_retreats_from_the_towers_that_lose_and_keeps_the_rest(tmp_path):
    source = write(tmp_path, model(outliers=True))
    _, figures = settle(CpuInt8(source), source.towers, judge_of(source), 1.0)
    assert figures.towers == {"left": FP32, "right": FP32, "head": "int8"}
    assert all("alone it loses" in figures.reasons[name] for name in ("left", "right"))
    assert figures.drop <= 1.0


def test_the_tower_that_loses_most_goes_back_to_fp32(plain):
    class Broken(Fp16):
        """As fp16, but one tower is spoilt: what a precision that does not suit it does."""

        def write(self, graph, towers, path):
            super().write(graph, towers, path)
            if "right" in {tower.name for tower in towers}:
                found = onnx.load(str(path))
                for tensor in found.graph.initializer:
                    if tensor.name.startswith("inner.right.out.bias"):
                        tensor.raw_data = np.full(16, 9, np.float16).tobytes()
                onnx.save(found, str(path))

    chosen, figures = settle(Broken(plain), plain.towers, judge_of(plain), 1.0)
    assert figures.towers == {"left": "fp16", "right": FP32, "head": "fp16"}
    assert figures.reasons["right"].startswith("alone it loses ")
    assert {tower.name for tower in chosen} == {"left", "head"}


def test_dynamic_int8_says_that_its_answers_vary(made):
    _, figures = made
    assert "answers vary with the batch" in figures["int8"].notes[0]
    assert figures[INT8_ENGINE].notes == ()


def test_int8_is_in_the_file(plain, made):
    graph, _ = made
    dynamic = {n.op_type for n in onnx.load(str(plain.folder / graph.files["int8"])).graph.node}
    assert "MatMulInteger" in dynamic
    engine = onnx.load(str(plain.folder / graph.files[INT8_ENGINE]))
    operators = {n.op_type for n in engine.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    assert "DynamicQuantizeLinear" not in operators  # which no builder of engines takes
    zero_points = [t for t in engine.graph.initializer if t.name.endswith("_zero_point")]
    assert zero_points
    assert all(not onnx.numpy_helper.to_array(t).any() for t in zero_points)
    assert all(t.data_type != TensorProto.INT32 for t in zero_points)


def test_without_labels_agreement_is_judged_and_said(tmp_path):
    source = write(tmp_path, model()._replace(tuning=None))
    _, figures = settle(CpuInt8(source), source.towers, judge_of(source), 50.0)
    assert figures.metric == "agreement"
    assert "there are no rows with a label: judged by rows answered as by fp32" in figures.notes[0]


def test_without_any_rows_nothing_can_be_measured_and_it_is_said(plain):
    none: dict[str, list[object]] = {"price": [], "cost": []}
    bare = plain.model._replace(tuning=None, golden=none, calibration=none)
    with pytest.raises(ConfigError, match="no rows to measure"):
        Judge(bare, lambda: plain.sessions(FP32))


def test_a_precision_that_no_tower_can_have_is_refused(plain, monkeypatch):
    form = EngineInt8(plain)
    monkeypatch.setattr(form, "refused", lambda: {t.name: "no" for t in plain.towers})
    with pytest.raises(ExportError, match="int8 for engines: no tower of the model can have it"):
        settle(form, plain.towers, judge_of(plain), 1.0)


def test_an_unknown_precision_is_named_with_those_there_are(tmp_path):
    from automm_export.export import export

    for options, says in [
        (ExportOptions(precisions=("fp61",)), "'fp61'.*fp16"),
        (ExportOptions(default_precision="fp16"), "the bundle would hold fp32 alone"),
        (ExportOptions(max_drop=float("nan")), "max_drop"),
    ]:
        with pytest.raises(ConfigError, match=says):
            export(model(), tmp_path / "bundle", options)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("key", ["fp16", "bf16", INT8_ENGINE])
def test_tensorrt_for_rtx_builds_every_form(plain, made, key):
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    graph, _ = made
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    strongly = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly)
    parser = trt.OnnxParser(network, log)
    parsed = parser.parse_from_file(str(plain.folder / graph.files[key]))
    assert parsed, [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("tabular_numbers", (1, 2), (4, 2), (8, 2))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None
