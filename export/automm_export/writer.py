"""The bundle on disk: which file lies where. ``docs/bundle-format.md`` draws it."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from automm_export.targets import DEFAULT, Target, find_target
from automm_export.targets.setting import Setting, settings_of
from automm_export.triton_config import (
    add_row_warmup,
    graph_config,
    public_config,
    write_config,
)
from automm_serve.manifest import (
    MANIFEST,
    REPOSITORY,
    FileFacts,
    GraphFiles,
    Made,
    Manifest,
    encode_manifest,
)
from automm_serve.pipeline import Pipeline, dump_pipeline, load_pipeline
from automm_serve.precisions import FP32
from automm_serve.tensors import TensorSpec
from automm_serve.triton import MODEL_PY
from automm_serve.verify import file_digest, files_in
from automm_serve.wire import Facts

VERSIONS = ("automm-edge", "torch", "onnx", "onnxscript", "onnxruntime", "numpy", "tokenizers",
            "pillow")  # fmt: skip
"""Packages that have a say in the content of a bundle, or in its answers."""

_SEALED = re.compile(r"__[0-9a-f]{8}$")


def write_graph(
    bundle: Path,
    name: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    write: Callable[[Path], None],
) -> GraphFiles:
    """Let ``write`` make the ONNX file of fp32, in a folder that has no hash in its name yet.

    Args:
        bundle: Its folder.
        name: Model and graph, ``NAME__predict``.
        inputs: Of the graph.
        outputs: Of the graph.
        write: Is given the path of ``model.onnx``; what it lays beside belongs to the graph too.
    """
    folder = f"{REPOSITORY}/{name}/1"
    (bundle / folder).mkdir(parents=True)
    write(bundle / folder / "model.onnx")
    return GraphFiles(name, inputs, outputs, {FP32: f"{folder}/model.onnx"})


def seal_graph(bundle: Path, graph: GraphFiles) -> GraphFiles:
    """Name a graph's folder after what it holds now: other precisions and engines count too.

    So an old NAME never meets a new graph on a server. Whatever adds a file seals again.
    """
    folder = bundle / REPOSITORY / graph.model
    bare = graph.model.rpartition("__")[0] if _SEALED.search(graph.model) else graph.model
    model = f"{bare}__{_digest_folder(folder / '1')[:8]}"
    folder.rename(folder.with_name(model))

    def moved(path: str) -> str:
        return f"{REPOSITORY}/{model}/{path.removeprefix(f'{REPOSITORY}/{graph.model}/')}"

    return msgspec.structs.replace(
        graph,
        model=model,
        files={key: moved(path) for key, path in graph.files.items()},
        engines=tuple(msgspec.structs.replace(e, path=moved(e.path)) for e in graph.engines),
    )


def write_pipeline(bundle: Path, pipeline: Pipeline) -> str:
    """Write ``pipeline.json`` and the one line of code, and return the path of the former."""
    path = f"{REPOSITORY}/{pipeline.name}/1/pipeline.json"
    (bundle / path).parent.mkdir(parents=True)
    (bundle / path).write_bytes(dump_pipeline(pipeline) + b"\n")
    (bundle / path).with_name("model.py").write_text(MODEL_PY, encoding="utf-8", newline="\n")
    return path


def content_digest(bundle: Path, pipeline: str, graphs: Mapping[str, GraphFiles]) -> str:
    """Return the hash of what answers: the pipeline, and each graph with its weights."""
    lines = [f"pipeline {file_digest(bundle / pipeline)}"]
    for name, graph in sorted(graphs.items()):
        lines.append(f"{name} {_digest_folder(bundle / REPOSITORY / graph.model / '1')}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_targets(
    bundle: Path,
    facts: Facts,
    graphs: Mapping[str, GraphFiles],
    targets: Sequence[Target],
    warmup: Sequence[bytes],
    default_precision: str = FP32,
    lengths: Mapping[str, tuple[int, ...]] | None = None,
) -> None:
    """Write the configurations of NAME and of the graphs, for each target and precision.

    Args:
        bundle: Its folder.
        facts: That a client reads from NAME's configuration.
        graphs: That NAME runs or calls.
        targets: Each gets a ``configs/<target>.pbtxt`` at the default precision, and a
            ``configs/<target>.<precision>.pbtxt`` at each other one; the default target is
            ``config.pbtxt`` too.
        warmup: JSON rows that NAME answers before it is ready, where it can.
        default_precision: Served where none is asked for and the target can run it; else fp32.
        lengths: Axis -> sizes that a GPU pads to.

    Raises:
        ExportError: A configuration cannot be written, or an engine does not fit it.
    """
    repository = bundle / REPOSITORY
    for model in (facts.name, *(graph.model for graph in graphs.values())):
        shutil.rmtree(repository / model / "configs", ignore_errors=True)  # of files that went
    files = _write_warmup(repository / facts.name / "warmup", warmup)
    default = DEFAULT if DEFAULT in [target.name for target in targets] else targets[0].name
    for target in targets:
        for setting in settings_of(target, graphs, default_precision, lengths or {}):
            config = public_config(facts, graphs, setting)
            if target.in_process:
                add_row_warmup(config, files)
            for path in _config_paths(repository / facts.name, setting, default):
                write_config(config, path)
            for graph in graphs.values() if target.graph_platform else ():
                for path in _config_paths(repository / graph.model, setting, default):
                    write_config(graph_config(graph, setting), path)


def rewrite_targets(bundle: Path, manifest: Manifest) -> None:
    """Write the configurations of a bundle anew, after its graphs got other files. No torch.

    Args:
        bundle: Its folder, where ``pipeline.json`` and the rows for warming up lie.
        manifest: Its graphs, targets, default precision, lengths and digest of the content.

    Raises:
        ExportError: A configuration cannot be written, or an engine does not fit it.
    """
    pipeline = load_pipeline(bundle / manifest.pipeline)
    warmup = bundle / REPOSITORY / manifest.name / "warmup"
    rows = [path.read_bytes()[4:] for path in sorted(warmup.glob("row*"), key=_row_number)]
    targets = [find_target(name) for name in manifest.targets]
    facts = public_facts(pipeline, manifest.content_sha256, manifest.max_batch)
    shutil.rmtree(warmup, ignore_errors=True)
    write_targets(
        bundle, facts, manifest.graphs, targets, rows, manifest.default_precision, manifest.lengths
    )


def public_facts(pipeline: Pipeline, content_sha256: str, max_batch: int) -> Facts:
    """Return what a client reads from NAME's configuration."""
    answers = {name: program.answer for name, program in pipeline.programs.items()}
    return Facts(
        pipeline.name, pipeline.problem_type, pipeline.schema, answers, content_sha256, max_batch
    )


def write_manifest(bundle: Path, manifest: Manifest) -> None:
    """Write ``bundle.json``; it has the facts of every other file, and its own digest."""
    (bundle / MANIFEST).write_bytes(encode_manifest(manifest))


def list_files(bundle: Path) -> dict[str, FileFacts]:
    """Return size and digest of every file but the manifest."""
    return {
        name: FileFacts(file_digest(bundle / name), (bundle / name).stat().st_size)
        for name in files_in(bundle)
        if name != MANIFEST
    }


def describe_maker(data_sha256: str) -> Made:
    """Return who makes the bundle; ``SOURCE_DATE_EPOCH`` makes it the same twice."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdecimal() else datetime.now(UTC)
    versions = {"python": platform.python_version()}
    for package in VERSIONS:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that was not installed
            continue
    system = f"{sys.platform} {platform.machine()}"
    return Made(moment.isoformat(timespec="seconds"), system, versions, data_sha256)


def _write_warmup(folder: Path, rows: Sequence[bytes]) -> list[str]:
    """Rows in wire form: four bytes of length, then the JSON."""
    folder.mkdir(parents=True)
    for number, row in enumerate(rows):
        (folder / f"row{number}").write_bytes(len(row).to_bytes(4, "little") + row)
    return [f"row{number}" for number in range(len(rows))]


def _row_number(path: Path) -> int:
    return int(path.name.removeprefix("row"))


def _config_paths(model: Path, setting: Setting, default: str) -> list[Path]:
    paths = [model / "configs" / f"{setting.config_name}.pbtxt"]
    is_default = setting.is_default and setting.target.name == default
    return [*paths, model / "config.pbtxt"] if is_default else paths


def _digest_folder(folder: Path) -> str:
    names = "\n".join(f"{name} {file_digest(folder / name)}" for name in files_in(folder))
    return hashlib.sha256(names.encode()).hexdigest()
