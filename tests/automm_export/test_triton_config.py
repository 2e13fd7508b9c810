"""Configurations: through the schema of Triton, and equal to the graph."""

import msgspec
import onnx
import pytest
from google.protobuf import text_format

from automm_export.export import Exportable, export
from automm_export.targets import DEFAULT, TARGETS, find_target
from automm_export.triton_config import TYPES, read_config, write_config
from automm_serve.answers import ClassesAnswer
from automm_serve.bundle import Bundle
from automm_serve.errors import ExportError
from automm_serve.golden import ROWS, read_rows
from automm_serve.triton import MODEL_PY
from automm_serve.wire import Facts, GraphFacts, decode_row
from tests.automm_export.tiny import exportable


@pytest.fixture
def repository(exported):
    return exported[0] / "model_repository"


@pytest.fixture
def graph(exported):
    return Bundle.open(exported[0]).manifest.graphs["predict"]


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_a_configuration_that_names_it(repository, target):
    config = read_config(repository / "tiny" / "configs" / f"{target}.pbtxt")
    assert config.name == "tiny"
    assert config.backend == "python"
    assert config.parameters["automm_target"].string_value == target
    assert config.max_batch_size == find_target(target).max_batch


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


def test_a_graphs_configuration_says_what_the_graph_says(repository, graph):
    config = read_config(repository / graph.model / "config.pbtxt")
    model = onnx.load(repository / graph.model / "1" / "model.onnx")
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
