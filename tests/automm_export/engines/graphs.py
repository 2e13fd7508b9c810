"""Small ONNX files whose nodes are named as the exporter names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from automm_export.engines.job import Job
from automm_serve.engines import Profile, Range
from automm_serve.tensors import BATCH, TensorSpec

INPUTS = (TensorSpec("x", "float32", (BATCH, 4)),)
PROFILE = Profile({"batch": Range(1, 2, 8)})


def write_graph(path: Path, *nodes: tuple[str, str], depth: int = 4, beside: bool = False) -> Path:
    """Write a chain of operators of one input.

    Args:
        path: To write to.
        nodes: Operator and name, in their order; a ``MatMul`` has weights ``depth x 4``.
        depth: 4 fits; another one is a mistake in the graph.
        beside: The weights lie in a file of their own.
    """
    made, at = [], "x"
    for number, (operator, name) in enumerate(nodes):
        out = "y" if number == len(nodes) - 1 else f"t{number}"
        inputs = [at, "w"] if operator == "MatMul" else [at]
        made.append(helper.make_node(operator, inputs, [out], name=name))
        at = out
    weights = numpy_helper.from_array(np.ones((depth, 4), np.float32), "w")
    graph = helper.make_graph(
        made,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 9
    if beside:
        onnx.save(model, str(path), save_as_external_data=True, location="w.data", size_threshold=0)
    else:
        onnx.save(model, str(path))
    return path


def job_of(graph: Path, **changes: Any) -> Job:
    """What TensorRT for RTX is asked for such a file."""
    fields: dict[str, Any] = {
        "builder": "tensorrt_rtx",
        "graph": str(graph),
        "engine": str(graph.with_name("model.fp32.rtx")),
        "inputs": INPUTS,
        "profiles": (PROFILE,),
        "precision": "fp32",
        "capabilities": ("8.6",),
    }
    return Job(**{**fields, **changes})
