"""What builders say, verbatim, becomes one error that names the part of the model."""

import pytest

from automm_export.engines.job import Failed, Job, Node
from automm_export.engines.messages import operator_of, read_failure, to_error

LAYERS = ["w", "model.head.linear/MatMul_7", "model.head.linear/MatMul_70", "graph/Softmax_2"]
TURING = (
    "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:337: "
    "check_turing_op_compatibility] Cannot compile operation 'model.head.linear/MatMul_7' for "
    "Turing (SM75): FP32 GEMM is not supported. In compileGraph at "
    "/_src/optimizer/myelin/codeGenerator.cpp:2012)"
)
WORKSPACE = (
    "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([tactic.cpp:1676: enumerate_tactics] "
    "Tactic Selection: no tactics to implement the operation within workspace limit. Consider "
    "increase the allowed workspace size if applicable.; [tactic.cpp:264: run] Error during tactic "
    "selection. In compileGraph at /_src/optimizer/myelin/codeGenerator.cpp:2012)"
)
CANCELLED = (
    "IBuilder::buildSerializedNetwork: Error Code 7: BuildCanceled (Build canceled by user In next "
    "at /_src/optimizer/common/scopedProgressReporter.cpp:92)"
)
DRIVER = (
    "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at "
    "/_src/common/dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver version is insufficient "
    "for CUDA runtime version))"
)


def job(**changes: object) -> Job:
    fields: dict[str, object] = {
        "builder": "tensorrt_rtx",
        "graph": "/b/model_repository/tiny__predict__00000000/1/model.fp16.onnx",
        "engine": "/b/model.fp16.rtx",
        "inputs": (),
        "profiles": (),
        "precision": "fp16",
    }
    return Job(**{**fields, **changes})  # type: ignore[arg-type]  # the fields of Job


def test_the_layer_of_a_message_is_found_and_not_one_that_begins_alike():
    failed = read_failure([TURING], LAYERS)
    assert failed.nodes == (Node("model.head.linear/MatMul_7", "MatMul"),)
    assert failed.cause == "node"
    assert "/_src/" not in failed.what
    text = str(to_error(job(), failed))
    assert "graph model.fp16.onnx of tiny__predict__00000000" in text
    assert "MatMul of module model.head.linear" in text
    assert "Build fp16 for cards of compute capability 7.5" in text


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (WORKSPACE, "workspace"),
        (CANCELLED, "cancelled"),
        ("Error Code 2: OutOfMemory (Requested size was 8589934592 bytes.)", "memory"),
        ("std::bad_alloc", "memory"),
        ("GPU memory allocation failed during initialization of layer: x", "memory"),
        ("Something else", "other"),
    ],
)
def test_the_cause_is_recognised(message, cause):
    assert read_failure([message], LAYERS).cause == cause


def test_a_missing_driver_is_the_reason_only_where_nothing_else_is_said():
    assert read_failure([DRIVER, TURING], LAYERS).what.startswith("IBuilder")
    assert "CUDA driver" in read_failure([DRIVER], LAYERS).what


def test_no_message_at_all_is_said():
    assert read_failure([], LAYERS).what == "the builder gave no reason"


def test_each_cause_says_what_helps():
    assert "--workspace-mb" in str(to_error(job(workspace_mb=1), Failed("workspace", "none")))
    assert "1 MB" in str(to_error(job(workspace_mb=1), Failed("workspace", "none")))
    assert "smaller --max-batch" in str(to_error(job(), Failed("memory", "none")))
    assert "Free some space" in str(to_error(job(), Failed("disk", "No space left on device")))


def test_many_operators_are_named_and_counted():
    nodes = tuple(Node(f"model.a.{i}/Unique_{i}", "Unique") for i in range(5))
    text = str(to_error(job(), Failed("operator", "", nodes)))
    assert "it has no operator Unique of module model.a.0 (node model.a.0/Unique_0)" in text
    assert "and 2 more" in text


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("a.b/MatMul_11", "MatMul"),
        ("graph/Softmax", "Softmax"),
        ("LayerNormalization_1_2", "LayerNormalization"),
    ],
)
def test_the_operator_is_the_end_of_a_name(name, operator):
    assert operator_of(name) == operator
