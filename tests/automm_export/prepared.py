"""Bundles with more files than the exporter made: other precisions, and engines that nothing runs.

The files of a precision are copies of fp32, so that they answer alike; an engine is a few bytes.
What is looked at is what is written about them, and who opens which.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from automm_export.targets import TARGETS
from automm_export.writer import (
    content_digest,
    list_files,
    rewrite_targets,
    seal_graph,
    write_manifest,
)
from automm_serve.engines import SUFFIXES, BuilderName, Engine, Profile, Range
from automm_serve.manifest import REPOSITORY, GraphFiles, Manifest, read_manifest
from automm_serve.precisions import FP32, PrecisionFigures

PROFILE = Profile({"batch": Range(1, 8, 16), "text_length": Range(16, 32, 48)})
KEYS = ("fp16", "bf16", "int8", "int8_qdq")


def add_files(bundle: Path, keys: Sequence[str] = KEYS, default: str = FP32) -> Manifest:
    """Give every graph of a bundle a file under each key, and every target to the bundle."""
    _, manifest = read_manifest(bundle)
    graphs = {}
    for name, graph in manifest.graphs.items():
        files = dict(graph.files)
        for key in keys:
            files[key] = files[FP32].replace("model.onnx", f"model.{key}.onnx")
            shutil.copy(bundle / files[FP32], bundle / files[key])
        graphs[name] = msgspec.structs.replace(graph, files=files)
    figures = PrecisionFigures({}, {}, "accuracy", 12, 1.0, 1.0, 0.0, 0.0, 0.0, 0.01, "CPU")
    precisions = {key: figures for key in keys if key != "int8_qdq"}
    return finish(bundle, manifest, graphs, default_precision=default, precisions=precisions)


def add_engine(
    bundle: Path,
    builder: BuilderName,
    precision: str = FP32,
    *,
    version: str = "10.1",
    capabilities: tuple[str, ...] = ("8.6",),
    profiles: tuple[Profile, ...] = (PROFILE,),
    graph_sha256: str = "",
    content: bytes = b"engine",
) -> Manifest:
    """Lay an engine beside every graph, and list it."""
    _, manifest = read_manifest(bundle)
    graphs = {}
    for name, graph in manifest.graphs.items():
        middle = f".sm{capabilities[0].replace('.', '')}" if builder == "tensorrt" else ""
        folder = f"{REPOSITORY}/{graph.model}/1"
        path = f"{folder}/model.{precision}{middle}{SUFFIXES[builder]}"
        (bundle / path).write_bytes(content)
        made_from = graph_sha256 or manifest.files[graph.files[precision]].sha256
        engine = Engine(path, builder, version, precision, capabilities, "", profiles, made_from)
        graphs[name] = msgspec.structs.replace(graph, engines=(*graph.engines, engine))
    return finish(bundle, manifest, graphs)


def finish(
    bundle: Path, manifest: Manifest, graphs: dict[str, GraphFiles], **changes: object
) -> Manifest:
    """Name the graphs by what they hold now, and write configurations and manifest anew."""
    graphs = {name: seal_graph(bundle, graph) for name, graph in graphs.items()}
    content = content_digest(bundle, manifest.pipeline, graphs)
    manifest = msgspec.structs.replace(
        manifest,
        graphs=graphs,
        targets=tuple(TARGETS),
        content_sha256=content,
        files=list_files(bundle),
        **changes,
    )
    rewrite_targets(bundle, manifest)
    manifest = msgspec.structs.replace(manifest, files=list_files(bundle))
    write_manifest(bundle, manifest)
    return manifest
