"""Configurations that would let the server run a stranger's code: none reaches a server."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from automm_serve.errors import BundleError
from automm_serve.manifest import MANIFEST
from automm_serve.triton.launch import ServerOptions, TritonServer
from tests.automm_serve import frozen

GRAPH = next((frozen.V2 / "model_repository").glob("tiny__predict__*")).name


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A copy whose server cannot start: it is refused before one is looked for."""
    monkeypatch.setattr(
        "automm_serve.triton.launch.locate", lambda server: pytest.fail("a server was looked for")
    )
    return frozen.copy(tmp_path, frozen.V2)


def lay(bundle: Path, name: str, content: bytes) -> None:
    """Write a file, and let the manifest list it."""
    path = bundle / "model_repository" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    raw = msgspec.json.decode((bundle / MANIFEST).read_bytes())
    digest = hashlib.sha256(content).hexdigest()
    raw["files"][f"model_repository/{name}"] = {"sha256": digest, "size_bytes": len(content)}
    frozen.rewrite(bundle, **raw)


def refused(bundle: Path, match: str, target: str = "cpu") -> None:
    with pytest.raises(BundleError, match=match):
        TritonServer(bundle, ServerOptions(target=target))


def parameter(key: str, value: str) -> str:
    return f'parameters {{\n  key: "{key}"\n  value {{\n    string_value: "{value}"\n  }}\n}}\n'


ANY = [
    'model_operations {\n  op_library_filename: "evil.so"\n}\n',
    'model_repository_agents {\n  agents {\n    name: "evil"\n  }\n}\n',
    'runtime: "evil.so"\n',
    'backend: "evil"\n',
    parameter("EXECUTION_ENV_PATH", "$$TRITON_MODEL_DIRECTORY/env.tar.gz"),
    parameter("execution_env_path", "/tmp/env"),
    "ensemble_scheduling {\n}\n",
    "sequence_batching {\n}\n",
    'metric_tags {\n  key: "a"\n  value: "b"\n}\n',
    "version_policy {\n  latest {\n    num_versions: 9\n  }\n}\n",
    "# a comment\n",
    'model_warmup {\n  name: "a" inputs {\n',
]
PUBLIC = [
    'default_model_filename: "evil.py"\n',
    'platform: "ensemble"\n',
    'cc_model_filenames {\n  key: "8.6"\n  value: "evil.py"\n}\n',
    "optimization {\n}\n",
    parameter("intra_op_thread_count", "1"),
    'model_warmup {\n  inputs {\n    value {\n      input_data_file: "../secret"\n    }\n  }\n}\n',
]
OF_GRAPH = [
    'default_model_filename: "../../evil.onnx"\n',
    'default_model_filename: "/tmp/evil.onnx"\n',
    'cc_model_filenames {\n  key: "8.6"\n  value: "../evil.plan"\n}\n',
    'platform: "tensorflow_savedmodel"\n',
    'backend: "python"\n',
    parameter("automm", "{}"),
    parameter("session.register_custom_ops_library", "evil.so"),
    parameter("intra_op_thread_count", "a/b"),
    'optimization {\n  execution_accelerators {\n    cpu_execution_accelerator {\n',
    "optimization {\n  execution_accelerators {\n    gpu_execution_accelerator {\n"
    '      name: "openvino"\n    }\n  }\n}\n',
    "optimization {\n  execution_accelerators {\n    gpu_execution_accelerator {\n"
    '      name: "tensorrt"\n      parameters {\n        key: "trt_extra_plugin_lib_paths"\n',
    "optimization {\n  execution_accelerators {\n    gpu_execution_accelerator {\n"
    '      name: "tensorrt"\n      parameters {\n        key: "trt_engine_cache_path"\n'
    '        value: "../evil"\n      }\n    }\n  }\n}\n',
]  # fmt: skip


@pytest.mark.parametrize("file", ["config.pbtxt", "configs/cpu_ort.pbtxt"])
@pytest.mark.parametrize(
    ("model", "lines"),
    [*(("tiny", text) for text in (*ANY, *PUBLIC)), *((GRAPH, text) for text in (*ANY, *OF_GRAPH))],
)
@pytest.mark.parametrize("target", ["cpu", "cpu_ort"])
def test_a_line_of_a_stranger_is_refused_with_its_place(bundle, file, model, lines, target):
    content = (bundle / "model_repository" / model / file).read_text()
    lay(bundle, f"{model}/{file}", (content + lines).encode())
    refused(bundle, rf"{model}/{file}, line \d+: a bundle of ours has no such line there", target)


def test_a_graph_cannot_be_python(bundle):
    lay(bundle, f"{GRAPH}/1/model.py", b"import os\n")
    refused(bundle, "no bundle of ours has such a file", "cpu_ort")


def test_a_graph_whose_backend_is_python_is_refused(bundle):
    file = f"{GRAPH}/configs/cpu_ort.pbtxt"
    content = (bundle / "model_repository" / file).read_bytes()
    changed = content.replace(b'backend: "onnxruntime"', b'backend: "python"')
    lay(bundle, file, changed)
    refused(bundle, 'backend: "python"', "cpu_ort")
    lay(bundle, file, content.replace(b'backend: "onnxruntime"', b'backend: "tensorrt"'))
    refused(bundle, "names another backend than ours", "cpu_ort")
    lay(bundle, file, content.replace(b'backend: "onnxruntime"\n', b""))
    refused(bundle, "names another backend than ours", "cpu_ort")


def test_a_further_configuration_is_looked_at_too(bundle):
    lay(bundle, "tiny/configs/cpu.evil.pbtxt", b'backend: "evil"\n')
    refused(bundle, r"cpu\.evil\.pbtxt, line 1")


@pytest.mark.parametrize(
    "name",
    [
        "tiny/libtriton_python.so",
        "tiny/1/libtriton_python.so",
        "tiny/1/msgspec.py",
        "tiny/2/model.py",
        "tiny/triton_python_backend_stub",
        "tiny/warmup/row0/evil.so",
        "tiny/configs/deep/cpu.pbtxt",
        f"{GRAPH}/libtriton_onnxruntime.so",
        f"{GRAPH}/1/libtriton_onnxruntime.so",
        f"{GRAPH}/2/model.onnx",
    ],
)
def test_a_file_that_the_server_would_run_or_prefer_is_refused(bundle, name):
    if "row0/" in name:
        (bundle / "model_repository/tiny/warmup/row0").unlink()
        raw = msgspec.json.decode((bundle / MANIFEST).read_bytes())
        del raw["files"]["model_repository/tiny/warmup/row0"]
        frozen.rewrite(bundle, files=raw["files"])
    lay(bundle, name, b"evil")
    refused(bundle, "no bundle of ours has such a file")


def test_a_graph_in_the_folder_of_the_model_is_refused(bundle):
    raw = msgspec.json.decode((bundle / MANIFEST).read_bytes())
    raw["graphs"]["predict"]["model"] = "tiny"
    frozen.rewrite(bundle, **raw)
    refused(bundle, "ours")


@pytest.mark.parametrize(
    "name", ["model_repository/tiny/configs/cpu.pbtxt", "golden/rows.jsonl",
             "model_repository/tiny/warmup/row1"],
)  # fmt: skip
def test_every_listed_file_is_there_and_no_link(bundle, name):
    (bundle / name).rename(bundle.parent / "outside")
    refused(bundle, "the file is absent")
    (bundle / name).symlink_to(bundle.parent / "outside")
    refused(bundle, "is a symbolic link")
