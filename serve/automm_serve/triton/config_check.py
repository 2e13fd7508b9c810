"""Looks Triton's configurations of a bundle through: a wrong one lets the server run foreign code.

Another backend, the path of an interpreter, a library of operators: each is a line in a file that
the server believes. So a line must be one that the exporter writes; all others are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from automm_serve.errors import BundleError
from automm_serve.manifest import REPOSITORY, Manifest
from automm_serve.triton import ENGINE_CACHE, FACTS, GRAPHS, PRECISION, TARGET, THREADS

_LINE = re.compile(
    r'(?P<indent> *)(?:(?P<close>\})|(?P<field>\w+)(?: (?P<open>\{)|: (?P<value>.+)))', re.ASCII
)  # fmt: skip
_VALUE = r'-?[0-9]+|true|false|[A-Z][A-Z0-9_]*|"(?:[^"\\\x00-\x1f\x7f]|\\.)*"'

_ALWAYS = "name backend max_batch_size input output instance_group parameters model_warmup"
_GPU = "optimization/execution_accelerators/gpu_execution_accelerator"
_GRAPH_SPEC = "optimization/cuda/graph_spec"
_BOTH = {
    "input": "name data_type dims",
    "output": "name data_type dims",
    "instance_group": "count kind",
    "parameters": "key value",
    "parameters/value": "string_value",
    "model_warmup": "name batch_size inputs",
    "model_warmup/inputs": "key value",
}
_PUBLIC_FIELDS = {
    **_BOTH,
    "": f"{_ALWAYS} dynamic_batching",
    "input": "name data_type dims optional allow_ragged_batch",
    "dynamic_batching": "",
    "model_warmup/inputs/value": "data_type dims input_data_file",
}
"""Message of NAME's configuration -> its fields; a field that is no key here is a scalar."""

_GRAPH_FIELDS = {
    **_BOTH,
    "": f"{_ALWAYS} platform default_model_filename cc_model_filenames optimization",
    "instance_group": "count kind profile",
    "cc_model_filenames": "key value",
    "model_warmup/inputs/value": "data_type dims zero_data",
    "optimization": "execution_accelerators cuda",
    "optimization/execution_accelerators": "gpu_execution_accelerator",
    _GPU: "name parameters",
    f"{_GPU}/parameters": "key value",
    "optimization/cuda": "graphs busy_wait_events graph_spec",
    _GRAPH_SPEC: "batch_size input",
    f"{_GRAPH_SPEC}/input": "key value",
    f"{_GRAPH_SPEC}/input/value": "dim",
}

_FILE = r'"[A-Za-z0-9][A-Za-z0-9_.-]*"'
_PUBLIC_VALUES = {
    "backend": '"python"',
    "parameters/key": f'"(?:{FACTS}|{GRAPHS}|{TARGET}|{PRECISION}|{THREADS})"',
    "model_warmup/inputs/value/input_data_file": _FILE,
}
"""Field whose value matters -> what it may be."""

_GRAPH_VALUES = {
    "backend": '"(?:onnxruntime|tensorrt)"',
    "platform": '"(?:onnxruntime_onnx|tensorrt_plan)"',
    "parameters/key": '"(?:intra|inter)_op_thread_count"',
    "parameters/value/string_value": '"[0-9]+"',
    "default_model_filename": _FILE,
    "cc_model_filenames/value": _FILE,
    f"{_GPU}/name": '"(?:tensorrt|cuda)"',
    f"{_GPU}/parameters/key": '"(?:max_workspace_size_bytes|trt_(?:engine|timing)_cache_enable|'
    "trt_(?:engine|timing)_cache_path|trt_profile_(?:min|opt|max)_shapes|use_tf32|"
    'cudnn_conv_algo_search)"',
    f"{_GPU}/parameters/value": rf'"(?:[0-9]+|true|HEURISTIC|{ENGINE_CACHE}|\w+:[\w:,]+)"',
}
_RUN_BY = {'"onnxruntime"': '"onnxruntime_onnx"', '"tensorrt"': '"tensorrt_plan"'}

_CONFIG = r"config\.pbtxt|configs/\w+(?:\.\w+)?\.pbtxt"
_PUBLIC_FILES = re.compile(rf"{_CONFIG}|1/model\.py|1/pipeline\.json|warmup/row[0-9]+", re.ASCII)
_GRAPH_FILES = re.compile(rf"{_CONFIG}|1/[^/]+\.(?:onnx|data|plan|rtx)", re.ASCII)
_MEND = "Export the bundle again, and look who changed the file"


def served_files(manifest: Manifest) -> dict[str, bool]:
    """Return the files of the models that a server is shown -> whether they are of a graph."""
    graphs = {graph.model for graph in manifest.graphs.values()}
    found = {}
    for name in manifest.files:
        repository, _, rest = name.partition("/")
        model = rest.partition("/")[0]
        if repository == REPOSITORY and model in {manifest.name, *graphs}:
            found[name] = model in graphs
    return found


def check_models(path: Path, manifest: Manifest) -> None:
    """Refuse files and configurations that the exporter lays in no model's folder.

    Triton takes a library of the backend from there before it looks anywhere else, and a version
    that is newer than 1.

    Args:
        path: Of the bundle.
        manifest: Whose files are as long as it says, and no links.

    Raises:
        BundleError: There is one.
    """
    for name, of_graph in served_files(manifest).items():
        _, model, *inside = name.split("/", 2)
        allowed = _GRAPH_FILES if of_graph else _PUBLIC_FILES
        if not inside or not allowed.fullmatch(inside[0]):
            what = "no bundle of ours has such a file"
            raise BundleError(where=str(path / name), what=what, mend=_MEND)
        if name.endswith(".pbtxt"):
            content = (path / name).read_bytes()
            check_config(str(path / name), content, model, of_graph=of_graph)


def check_config(where: str, content: bytes, model: str, *, of_graph: bool) -> None:
    """Refuse a configuration with a line that the exporter does not write.

    Args:
        where: It lies, for the message.
        content: Of the file.
        model: Name of the folder.
        of_graph: It is a graph's and not NAME's.

    Raises:
        BundleError: There is such a line, or none that names the backend.
    """
    fields = _GRAPH_FIELDS if of_graph else _PUBLIC_FIELDS
    values = {**(_GRAPH_VALUES if of_graph else _PUBLIC_VALUES), "name": f'"{re.escape(model)}"'}
    said: dict[str, str] = {}
    stack: list[str] = []
    lines = content.decode("utf-8", "replace").removesuffix("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if not _take(line, stack, fields, values, said):
            raise BundleError(
                where=f"{where}, line {number}",
                what=f"a bundle of ours has no such line there: {line.strip()[:80]!r}",
                mend=_MEND,
            )
    backend = said.get("backend", "")
    if stack or not backend or (of_graph and said.get("platform") != _RUN_BY[backend]):
        raise BundleError(
            where=where, what="it is cut off, or names another backend than ours", mend=_MEND
        )


def _take(
    line: str,
    stack: list[str],
    fields: Mapping[str, str],
    values: Mapping[str, str],
    said: dict[str, str],
) -> bool:
    """Read one line, and return whether it may stand there."""
    match = _LINE.fullmatch(line)
    if match is None or len(match["indent"]) != 2 * (len(stack) - bool(match["close"])):
        return False
    if match["close"]:
        stack.pop()
        return True
    message = "/".join(stack)
    path = f"{message}/{match['field']}" if message else match["field"]
    if match["field"] not in fields[message].split() or bool(match["open"]) != (path in fields):
        return False
    if match["open"]:
        stack.append(match["field"])
        return True
    value = said[path] = match["value"]
    return bool(re.fullmatch(values.get(path, _VALUE), value, re.ASCII))
