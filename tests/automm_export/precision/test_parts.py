"""The parts below: names, order of nodes, rounding, yardsticks, torch's program in bfloat16."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper

from automm_export.graph import is_inside, module_of, tower_of
from automm_export.precision.files import sort_nodes
from automm_export.precision.retype import Half, half_tensor, takes_half
from automm_export.precision.torch_half import HalfProgram
from automm_export.precision.yardstick import AgreementYardstick, MetricYardstick
from automm_export.rewrite import name_nodes
from automm_export.session import TorchSession
from automm_serve.answers import ClassesAnswer, ValuesAnswer
from automm_serve.tensors import Table
from tests.automm_export.precision.small import Two

TOWERS = {"text": ("model.text",), "text_2": ("model.text_2", "model.head")}
ANSWER = ClassesAnswer("kind", ("a", "b"))


@pytest.mark.parametrize(
    ("name", "tower"),
    [
        ("model.text/MatMul_1", "text"),
        ("model.text.layer.0/MatMul_1", "text"),
        ("model.text_2/MatMul_1", "text_2"),  # not of the tower whose name it begins with
        ("model.head/Gemm", "text_2"),
        ("model/Gemm", None),
        ("graph/Softmax", None),
        ("Softmax", None),
    ],
)
def test_a_node_belongs_to_the_tower_that_its_name_says(name, tower):
    assert tower_of(name, TOWERS) == tower


def test_a_node_without_origin_is_named_after_what_it_reads_and_names_are_unique():
    nodes = [helper.make_node("Abs", ["x"], ["a"], "node_abs")]
    nodes += [
        helper.make_node("Neg", ["a"], ["b"], "n0"),
        helper.make_node("Neg", ["b"], ["y"], "n0"),
    ]
    scopes = nodes[0].metadata_props.add()
    scopes.key, scopes.value = "pkg.torch.onnx.name_scopes", "['', 'inner', 'inner.part.0', 'abs']"
    model = helper.make_model(helper.make_graph(nodes, "g", [], []))
    assert name_nodes(model)
    names = [node.name for node in model.graph.node]
    assert names == ["part.0/abs", "part.0/n0", "part.0/n0_2"]
    assert module_of(names[0]) == "part.0"
    assert is_inside("part.0", "part")


def test_nodes_are_put_behind_what_they_read_and_a_sorted_graph_is_left():
    first, last = helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["y"])
    graph = helper.make_graph([last, first], "g", [], [])
    assert sort_nodes(graph)
    assert [node.op_type for node in graph.node] == ["Abs", "Neg"]
    assert not sort_nodes(graph)


@given(arrays(np.float32, st.integers(1, 20), elements=st.floats(width=32, allow_nan=False)))
def test_a_constant_is_rounded_to_the_nearest_and_never_infinite_nor_zero(values):
    halves: dict[Half, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}
    for half, dtype in halves.items():
        tensor = half_tensor(values, half)
        raw = torch.from_numpy(np.frombuffer(tensor.raw_data, np.int16).copy())
        found = raw.view(dtype).float().numpy()
        assert np.isfinite(found).all()
        assert ((found == 0) == (values == 0)).all()
        limits = torch.finfo(dtype)
        plain = (np.abs(values) < limits.max) & (np.abs(values) > limits.smallest_normal)
        wanted = torch.from_numpy(values[plain]).to(dtype).float().numpy()
        assert (found[plain] == wanted).all()


def test_a_convolution_knows_no_bfloat16_in_this_opset_and_a_product_does():
    found = {
        (operator, half): takes_half(helper.make_node(operator, ["x"], ["y"]), half)
        for operator in ("Conv", "MatMul", "Range")
        for half in ("fp16", "bf16")
    }
    assert [key for key, value in found.items() if not value] == [
        ("Conv", "bf16"), ("Range", "fp16"), ("Range", "bf16"),
    ]  # fmt: skip


def test_a_share_is_lost_in_points_and_an_error_in_per_cent():
    truth = ["a"] * 6 + ["b"] * 4
    right: Table = {"kind": truth, "probabilities": [np.array([0.5, 0.5])] * 10}
    worse: Table = {**right, "kind": ["b", *truth[1:]]}
    share = MetricYardstick("accuracy", ANSWER, truth, right)
    assert share.compare(worse).drop == pytest.approx(10)
    assert share.compare(right).drop == 0
    low, high = share.interval(worse)
    assert low <= 10 <= high
    assert share.interval(worse) == (low, high)  # the same draws each time

    numbers = ValuesAnswer("price", 0.0, 2.0)
    error = MetricYardstick("rmse", numbers, [0.0, 0.0], {"price": [1.0, -1.0]})
    assert error.compare({"price": [1.1, -1.1]}).drop == pytest.approx(10)
    assert error.compare({"price": [0.9, -0.9]}).drop == pytest.approx(-10)
    exact = MetricYardstick("rmse", numbers, [0.0], {"price": [0.0]})
    assert exact.compare({"price": [0.1]}).drop == float("inf")
    assert exact.compare({"price": [0.0]}).drop == 0


def test_an_unknown_metric_of_the_trainer_gives_way_to_the_default_and_says_so():
    right: Table = {
        "kind": ["a", "b"],
        "probabilities": [np.array([0.9, 0.1]), np.array([0.2, 0.8])],
    }
    yardstick = MetricYardstick("my_own", ANSWER, ["a", "b"], right)
    assert yardstick.metric == "roc_auc"
    assert "'my_own' is not known here" in yardstick.notes[0]


def test_agreement_is_of_the_label_s_deviation_where_it_is_a_number():
    yardstick = AgreementYardstick(ValuesAnswer("price", 0.0, 2.0), {"price": [1.0, 3.0]}, "none")
    assert yardstick.compare({"price": [1.2, 2.8]}).drop == pytest.approx(10)
    assert yardstick.compare({"price": [1.0, 3.0]}).drop == 0


def test_torch_s_program_in_bfloat16_differs_by_its_digits_in_the_towers_chosen_alone():
    graph = Two().eval()
    numbers = np.array([[5.1e5, 4.2e5], [np.nan, 6.3e5], [3e5, 5e5]], np.float32)
    feed = {"tabular_numbers": numbers}
    program = HalfProgram(graph, feed)
    wanted = TorchSession(graph).run(feed)["features"]

    def differ(towers):
        return np.abs(program.session(towers).run(feed)["features"] - wanted)

    assert differ([]).max() < 1e-6
    left = differ(["left"])
    assert 1e-4 < left[:, :16].max() < 0.05  # scaling stays in 32 bits: else it would be wild
    assert left[:, 16:].max() < 1e-6
    assert differ(["left", "right"])[:, 16:].max() > 1e-4


def test_the_checker_refuses_what_it_should(tmp_path):
    from automm_export.precision.files import save_graph
    from automm_serve.errors import ExportError

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    node = helper.make_node("Abs", ["nowhere"], ["y"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "g", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    with pytest.raises(ExportError, match="not what ONNX allows"):
        save_graph(model, tmp_path / "broken.onnx")
    assert onnx.load(str(tmp_path / "broken.onnx")).ir_version == 9
