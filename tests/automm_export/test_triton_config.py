"""Configurations of each target and precision: through the schema of Triton, as the graph is."""

from typing import Any

import msgspec
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from automm_export.export import Exportable, ExportOptions, export
from automm_export.exportable import targets_of
from automm_export.targets import DEFAULT, TARGETS, find_target
from automm_export.triton_config import TYPES, read_config, write_config
from automm_serve.answers import ClassesAnswer
from automm_serve.bundle import Bundle
from automm_serve.engines import Profile, Range
from automm_serve.errors import ExportError
from automm_serve.golden import ROWS, read_rows
from automm_serve.manifest import read_manifest
from automm_serve.tensors import Axis
from automm_serve.triton import MODEL_PY
from automm_serve.wire import Facts, GraphFacts, decode_row
from tests.automm_export.prepared import add_engine, add_files
from tests.automm_export.tiny import export_tiny, exportable


@pytest.fixture
def repository(exported):
    return exported[0] / "model_repository"


@pytest.fixture
def graph(exported):
    return Bundle.open(exported[0]).manifest.graphs["predict"]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A bundle with every precision and engines of both builders: ``(folder, manifest)``."""
    bundle = export_tiny(tmp_path_factory.mktemp("served") / "bundle")
    add_files(bundle, default="fp16")
    for key in ("fp32", "fp16", "int8_qdq"):
        add_engine(bundle, "tensorrt", key, capabilities=("8.6",))
        add_engine(bundle, "tensorrt", key, capabilities=("9.0",))
        add_engine(bundle, "tensorrt_rtx", key, capabilities=("8.6", "8.9", "12.0"))
    return bundle, read_manifest(bundle)[1]


CONFIGS = [
    (target, precision)
    for target in TARGETS
    for precision in ("fp32", "fp16", "bf16", "int8")
    if precision in find_target(target).files
]


def read_setting(served, model: str, target: str, precision: str) -> Any:
    """The configuration of a model for a target at a precision, where fp16 is the default."""
    name = target if precision == "fp16" else f"{target}.{precision}"
    return read_config(served[0] / "model_repository" / model / "configs" / f"{name}.pbtxt")


@pytest.mark.parametrize(("target", "precision"), CONFIGS)
def test_every_target_has_a_configuration_at_every_precision_that_names_both(
    served, target, precision
):
    config = read_setting(served, "tiny", target, precision)
    assert config.name == "tiny"
    assert config.backend == "python"
    assert config.parameters["automm_target"].string_value == target
    assert config.parameters["automm_precision"].string_value == precision
    facts = msgspec.json.decode(config.parameters["automm"].string_value, type=Facts)
    assert config.max_batch_size == facts.max_batch
    # The engines of this bundle take 16 rows, everything else 32; none was built in bf16.
    built = find_target(target).builder is not None and precision != "bf16"
    assert facts.max_batch == (16 if built else 32)


def test_there_is_no_other_configuration(served):
    bundle, manifest = served
    names = {path.name for path in (bundle / "model_repository/tiny/configs").iterdir()}
    assert names == {
        f"{target}.pbtxt" if precision == "fp16" else f"{target}.{precision}.pbtxt"
        for target, precision in CONFIGS
    }
    assert not any(name.startswith("cpu") and "bf16" in name for name in names)
    graph = bundle / "model_repository" / manifest.graphs["predict"].model / "configs"
    assert {path.name for path in graph.iterdir()} == {
        name for name in names if name.startswith(("cpu_ort", "gpu_ort", "gpu_trt"))
    }


def test_a_target_that_cannot_run_the_default_precision_is_at_fp32(tmp_path):
    bundle = export_tiny(tmp_path / "bundle")
    add_files(bundle, ["bf16"], default="bf16")
    configs = bundle / "model_repository/tiny/configs"
    found = {
        path.name: read_config(path).parameters["automm_precision"].string_value
        for path in configs.iterdir()
    }
    assert found["cpu.pbtxt"] == found["cpu_ort.pbtxt"] == "fp32"
    assert found["gpu_ort.pbtxt"] == "bf16"
    assert found["gpu_ort.fp32.pbtxt"] == "fp32"
    assert "cpu.bf16.pbtxt" not in found


def test_an_export_has_the_cpu_targets_alone_unless_it_is_told(exported):
    configs = exported[0] / "model_repository/tiny/configs"
    assert {path.name for path in configs.iterdir()} == {"cpu.pbtxt", "cpu_ort.pbtxt"}
    assert targets_of(ExportOptions()) == ("cpu_ort", "cpu")
    assert targets_of(ExportOptions(trt=True)) == tuple(TARGETS)
    assert targets_of(ExportOptions(trt=True, targets=("cpu",))) == ("cpu",)


@pytest.mark.parametrize(
    ("target", "precision", "file"),
    [
        ("cpu", "int8", "model.int8.onnx"),
        ("cpu", "fp32", "model.onnx"),
        ("gpu_rtx", "fp16", "model.fp16.rtx"),
        ("gpu_rtx", "int8", "model.int8_qdq.rtx"),
        ("gpu_rtx", "bf16", "run-automm-compile-on-this-gpu.rtx"),
    ],
)
def test_a_target_that_runs_graphs_in_its_process_names_their_file(served, target, precision, file):
    config = read_setting(served, "tiny", target, precision)
    graphs = config.parameters["automm_graphs"].string_value
    facts = msgspec.json.decode(graphs, type=dict[str, GraphFacts])["predict"]
    assert facts.file == file
    folder = served[0] / "model_repository" / facts.model / "1"
    assert (folder / file).is_file() is not file.startswith("run-")
    assert (facts.engine is not None) == file.startswith("model.") * file.endswith(".rtx")
    gpu = target.startswith("gpu")
    assert config.instance_group[0].kind == (pb.ModelInstanceGroup.KIND_GPU if gpu
                                             else pb.ModelInstanceGroup.KIND_CPU)  # fmt: skip


def test_gpu_ort_lets_tensorrt_run_the_graph_and_cuda_what_that_leaves(served):
    graph = served[1].graphs["predict"].model
    config = read_setting(served, graph, "gpu_ort", "fp16")
    assert config.platform == "onnxruntime_onnx"
    assert config.default_model_filename == "model.fp16.onnx"
    assert config.instance_group[0].kind == pb.ModelInstanceGroup.KIND_GPU
    assert not config.instance_group[0].gpus  # naming one would idle the others
    first, second = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert (first.name, second.name) == ("tensorrt", "cuda")
    assert "precision_mode" not in first.parameters  # the graph says where it is fp16
    assert first.parameters["trt_engine_cache_path"] == "automm_engines"
    assert second.parameters["use_tf32"] == "0"
    shapes = {key: first.parameters[f"trt_profile_{key}_shapes"] for key in ("min", "opt", "max")}
    inputs = [spec.name for spec in served[1].graphs["predict"].inputs]
    for text in shapes.values():  # every input, because the batch of each varies
        assert [part.split(":")[0] for part in text.split(",")] == inputs
    short, long = served[1].lengths["text_length"]
    assert f"text_ids:1x{short}," in shapes["min"]
    assert f"text_ids:8x{short}," in shapes["opt"]
    assert f"text_ids:32x{long}," in shapes["max"]
    assert "image_pixels:32x3x8x8x3," in shapes["max"]


def test_int8_on_a_gpu_is_the_form_that_builders_take(served):
    graph = served[1].graphs["predict"].model
    for target, file in (("gpu_ort", "model.int8_qdq.onnx"), ("cpu_ort", "model.int8.onnx")):
        assert read_setting(served, graph, target, "int8").default_model_filename == file


def test_gpu_trt_names_plans_by_capability_and_to_others_what_to_do(served):
    graph = served[1].graphs["predict"].model
    config = read_setting(served, graph, "gpu_trt", "fp16")
    assert (config.platform, config.backend) == ("tensorrt_plan", "tensorrt")
    assert dict(config.cc_model_filenames) == {
        "8.6": "model.fp16.sm86.plan",
        "9.0": "model.fp16.sm90.plan",
    }
    assert config.default_model_filename == "run-automm-compile-on-this-gpu.plan"
    assert config.max_batch_size == 16
    assert list(config.instance_group[0].profile) == ["0"]
    unbuilt = read_setting(served, graph, "gpu_trt", "bf16")
    assert not unbuilt.cc_model_filenames
    assert unbuilt.default_model_filename == "run-automm-compile-on-this-gpu.plan"
    assert not unbuilt.instance_group[0].profile


def test_gpu_trt_records_the_shapes_in_use_and_warms_up_at_each_length(served):
    graph = served[1].graphs["predict"].model
    config = read_setting(served, graph, "gpu_trt", "fp16")
    lengths = served[1].lengths["text_length"]
    assert len(lengths) == 2
    assert lengths[1] == 48
    specs = config.optimization.cuda.graph_spec
    assert config.optimization.cuda.graphs
    found = {(spec.batch_size, spec.input["text_ids"].dim[0]) for spec in specs}
    assert found == {(rows, length) for rows in (1, 8, 16) for length in lengths}
    assert list(specs[0].input["image_pixels"].dim) == [3, 8, 8, 3]
    assert [s.inputs["text_ids"].dims[0] for s in config.model_warmup] == list(lengths)


def test_name_pads_to_the_two_lengths_of_a_gpu_and_to_all_on_a_cpu(served):
    def sizes(target: str) -> tuple[int, ...]:
        config = read_setting(served, "tiny", target, "fp32")
        text = config.parameters["automm_graphs"].string_value
        specs = msgspec.json.decode(text, type=dict[str, GraphFacts])["predict"].inputs
        (axis,) = {a for s in specs for a in s.shape if isinstance(a, Axis) and a.sizes}
        return axis.sizes

    assert sizes("cpu") == sizes("cpu_ort") == (16, 32, 48)
    for target in ("gpu_ort", "gpu_trt", "gpu_rtx"):
        assert sizes(target) == served[1].lengths["text_length"]


def test_no_rtx_file_stands_in_a_configuration_of_tensorrt_plan(served, tmp_path):
    graph = served[1].graphs["predict"].model
    for path in (served[0] / "model_repository" / graph / "configs").iterdir():
        assert ".rtx" not in path.read_text()
    wrong = read_setting(served, graph, "gpu_trt", "fp16")
    wrong.cc_model_filenames["8.6"] = "model.fp16.rtx"
    with pytest.raises(ExportError, match="reads plans alone"):
        write_config(wrong, tmp_path / "config.pbtxt")
    assert not (tmp_path / "config.pbtxt").exists()


def test_an_engine_that_lacks_a_length_in_use_is_refused(tmp_path):
    bundle = export_tiny(tmp_path / "bundle")
    short = Profile({"batch": Range(1, 8, 16), "text_length": Range(16, 32, 32)})
    with pytest.raises(ExportError, match=r"no profile for text_length 48"):
        add_engine(bundle, "tensorrt", profiles=(short,))


def test_a_batch_or_length_of_the_engine_is_the_limit_of_its_target_alone(tmp_path):
    bundle = export_tiny(tmp_path / "bundle")
    small = Profile({"batch": Range(1, 4, 4), "text_length": Range(16, 32, 48)})
    manifest = add_engine(bundle, "tensorrt", profiles=(small, small))
    graph = manifest.graphs["predict"].model
    configs = bundle / "model_repository" / graph / "configs"
    plan, ort = (read_config(configs / f"{name}.pbtxt") for name in ("gpu_trt", "gpu_ort"))
    assert (plan.max_batch_size, ort.max_batch_size) == (4, 32)
    assert list(plan.instance_group[0].profile) == ["0", "1"]
    assert {spec.batch_size for spec in plan.optimization.cuda.graph_spec} == {1, 4}


def test_the_default_is_what_a_stock_container_loads(repository):
    default = repository / "tiny" / "config.pbtxt"
    assert (
        default.read_text() == default.with_name("configs").joinpath(f"{DEFAULT}.pbtxt").read_text()
    )


def test_a_client_finds_all_it_needs_in_the_configuration(exported, repository, graph):
    config = read_config(repository / "tiny" / "config.pbtxt")
    facts = msgspec.json.decode(config.parameters["automm"].string_value, type=Facts)
    bundle = Bundle.open(exported[0])
    assert facts.schema == bundle.pipeline.schema
    assert facts.bundle == bundle.manifest.content_sha256
    assert set(facts.answers) == {"predict", "embed"}
    graphs = config.parameters["automm_graphs"].string_value
    assert msgspec.json.decode(graphs, type=dict[str, GraphFacts]) == {
        "predict": GraphFacts(graph.model, graph.inputs, graph.outputs)
    }


@pytest.mark.parametrize(
    ("target", "precision"), [(t, p) for t, p in CONFIGS if find_target(t).graph_platform]
)
def test_a_graphs_configuration_says_what_the_graph_says(served, target, precision):
    graph = served[1].graphs["predict"]
    config = read_setting(served, graph.model, target, precision)
    model = onnx.load(served[0] / graph.files[find_target(target).files[precision]])
    for declared, real in ((config.input, model.graph.input), (config.output, model.graph.output)):
        said = {t.name: (t.data_type, list(t.dims)) for t in declared}
        assert said == {
            value.name: (
                TYPES[onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name],
                [d.dim_value or -1 for d in value.type.tensor_type.shape.dim][1:],
            )
            for value in real
        }


def test_a_graph_warms_up_at_every_length(repository, graph):
    config = read_config(repository / graph.model / "config.pbtxt")
    assert [list(s.inputs["text_ids"].dims) for s in config.model_warmup] == [[16], [32], [48]]
    assert all(s.inputs["text_ids"].zero_data for s in config.model_warmup)


def test_only_a_model_that_runs_its_graphs_itself_warms_up_with_rows(repository):
    calling = read_config(repository / "tiny" / "configs" / "cpu_ort.pbtxt")
    assert not calling.model_warmup
    running = read_config(repository / "tiny" / "configs" / "cpu.pbtxt")
    files = [sample.inputs["row"].input_data_file for sample in running.model_warmup]
    assert sorted(files) == sorted(p.name for p in (repository / "tiny" / "warmup").iterdir())


def test_a_warm_up_row_is_one_golden_row_in_wire_form(exported, repository):
    bundle = Bundle.open(exported[0])
    schema = bundle.pipeline.schema
    golden = read_rows(exported[0] / ROWS, schema)
    raw = (repository / "tiny" / "warmup" / "row0").read_bytes()
    assert int.from_bytes(raw[:4], "little") == len(raw) - 4
    row = decode_row(schema, raw[4:])
    assert row == {name: cells[0] for name, cells in golden.items()}


def test_the_code_is_one_line(repository):
    assert (repository / "tiny" / "1" / "model.py").read_text() == MODEL_PY


def test_a_configuration_that_comes_back_otherwise_is_an_error(tmp_path, repository, monkeypatch):
    config = read_config(repository / "tiny" / "config.pbtxt")
    monkeypatch.setattr(text_format, "MessageToString", lambda message: 'name: "other"')
    with pytest.raises(ExportError, match="otherwise than it was written"):
        write_config(config, tmp_path / "config.pbtxt")


@pytest.mark.parametrize("label", ["row", "images", "row_error", "features"])
def test_a_label_that_the_wire_cannot_carry_is_refused(tmp_path, label):
    model = exportable()
    program = model.pipeline.programs["predict"]
    answer = ClassesAnswer(label, ("cat", "dog", "mouse"))
    programs = {
        **model.pipeline.programs,
        "predict": msgspec.structs.replace(program, answer=answer),
    }
    pipeline = msgspec.structs.replace(model.pipeline, programs=programs)
    with pytest.raises(ExportError, match=f"column '{label}'.*Rename the label"):
        export(Exportable(pipeline, model.graphs, model.golden, model.calibration), tmp_path / "b")
