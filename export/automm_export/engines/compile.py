"""``automm compile``: engines for a bundle that exists, on the machine that will serve it.

Nothing of training is needed: the graphs lie in the bundle. It is never written into, as it may be
served at this moment: a sibling is made, mostly of links, and takes its place when all is well.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import msgspec
from msgspec import Struct

from automm_export.engines.build import Build, Built, Watch, build_engines
from automm_export.engines.check import is_engine_line
from automm_export.engines.choose import builder_version, check_release, need_builder
from automm_export.engines.options import EngineOptions
from automm_export.engines.profiles import check_batch
from automm_export.targets import TARGETS, find_target
from automm_export.writer import (
    content_digest,
    list_files,
    rewrite_targets,
    seal_graph,
    write_manifest,
)
from automm_serve.atomic import write_folder
from automm_serve.bundle import Bundle, file_fault
from automm_serve.engines import BuilderName, Engine
from automm_serve.errors import BundleError, ExportError
from automm_serve.golden import read_rows
from automm_serve.manifest import (
    FORMAT,
    MANIFEST,
    REPOSITORY,
    FileFacts,
    GraphFiles,
    Manifest,
)
from automm_serve.tensors import Table
from automm_serve.verify import file_digest, files_in, verify


class CompileReport(Struct, frozen=True):
    """What was done.

    Attributes:
        path: Of the bundle with its engines.
        builder: That built them.
        builds: One for each engine.
        engines: All that the bundle has now.
        missing: What was not built, and what helps.
        not_run: Engines that were not compared with ONNX Runtime, and why.
        golden: Rows that the new bundle answered as the old one did.
    """

    path: str
    builder: BuilderName
    builds: tuple[Build, ...]
    engines: tuple[Engine, ...]
    missing: tuple[str, ...]
    not_run: tuple[str, ...]
    golden: int


def compile_bundle(
    path: str | Path,
    out: str | Path | None = None,
    options: EngineOptions | None = None,
    *,
    watch: Callable[[str], None] | None = None,
    progress: Watch | None = None,
) -> CompileReport:
    """Build the engines of a bundle, and write it with them: all of it, or nothing.

    Engines of the same builder, precision and kind of GPU are replaced, others stay.

    Args:
        path: Of the bundle.
        out: Folder for the bundle with engines, new or empty; it takes the place of ``path``, in
            one step, where None.
        options: How.
        watch: Is told the name of each stage as it begins.
        progress: Is told how far each engine is.

    Raises:
        BundleError: A file is not what was exported.
        ConfigError: An option does not fit the bundle, a target reads no such engine, or the disk
            is full.
        MissingDependencyError: The builder is not installed.
        ExportError: A builder failed.
    """
    options = options or EngineOptions()
    say = watch or (lambda stage: None)
    check_batch(options)
    source = Bundle.open(path)
    choice = need_builder(options)
    builder: BuilderName = choice.builder or "tensorrt_rtx"
    check_release(options.target, builder, builder_version(builder))
    say("check the files")
    _check_digests(source)
    place, replace = (source.path, True) if out is None else (Path(out), False)
    with write_folder(place, replace=replace, known_by=MANIFEST) as folder:
        say("copy the bundle")
        kept = _copy(source, folder, link=out is None)
        say("build")
        built = build_engines(
            folder,
            kept,
            options,
            pipeline=source.pipeline,
            rows=_rows(source),
            lengths=source.manifest.lengths,
            choice=choice,
            watch=progress,
        )
        for engine in _fresh(built, kept):  # the package may not have said its version
            check_release(options.target, builder, engine.version)
        manifest = _write(folder, source.manifest, built, builder, say)
        say("golden rows")
        _check_answers(folder)
    return CompileReport(
        str(place),
        builder,
        built.builds,
        tuple(engine for graph in manifest.graphs.values() for engine in graph.engines),
        tuple(built.missing),
        built.not_run,
        source.manifest.golden.count if source.manifest.golden else 0,
    )


def _check_digests(bundle: Bundle) -> None:
    """Every file: what is damaged here would be listed as good in the new bundle."""
    for name, facts in bundle.manifest.files.items():
        fault = file_fault(bundle.path, name, facts.size_bytes)
        if not fault and file_digest(bundle.path / name) != facts.sha256:
            fault = "its content is not what was exported"
        if fault:
            raise BundleError(
                where=str(bundle.path / name),
                what=fault,
                mend="Copy the bundle anew from where it was exported, or export it again",
            )


def _copy(bundle: Bundle, folder: Path, *, link: bool) -> dict[str, GraphFiles]:
    """Take over every file that stays as it is, and return the graphs.

    Args:
        bundle: That is compiled.
        folder: Of the new one.
        link: Hard links will do, as the old bundle goes; a file that is written anew is never one.
    """
    manifest = bundle.manifest
    for name in manifest.files:
        if _is_rewritten(name):
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _take(bundle.path / name, target, link=link and not _is_warmup(name))
    return dict(manifest.graphs)


def _take(source: Path, target: Path, *, link: bool) -> None:
    if link:
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    shutil.copyfile(source, target)
    shutil.copymode(source, target)


def _is_rewritten(name: str) -> bool:
    """Configurations name the graphs by their content, which changes."""
    parts = PurePosixPath(name).parts
    in_model = len(parts) > 2 and parts[0] == REPOSITORY
    return in_model and (parts[2] == "config.pbtxt" or parts[2] == "configs")


def _is_warmup(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return len(parts) > 2 and parts[0] == REPOSITORY and parts[2] == "warmup"


def _write(
    folder: Path,
    old: Manifest,
    built: Built,
    builder: BuilderName,
    say: Callable[[str], None],
) -> Manifest:
    """Name the graphs by what they hold now, and write what names them."""
    graphs = {name: seal_graph(folder, graph) for name, graph in built.graphs.items()}
    manifest = msgspec.structs.replace(
        old,
        format=FORMAT,
        graphs=graphs,
        targets=_targets(old.targets, builder),
        files=dict.fromkeys(files_in(folder), FileFacts("", 0)),  # until all are written
        content_sha256=content_digest(folder, old.pipeline, graphs),
        parity=msgspec.structs.replace(
            old.parity,
            not_run=(*(n for n in old.parity.not_run if not is_engine_line(n)), *built.not_run),
        ),
    )
    say("write the configurations")
    rewrite_targets(folder, manifest)
    say("digests")
    manifest = msgspec.structs.replace(manifest, files=list_files(folder))
    write_manifest(folder, manifest)
    return manifest


def _fresh(built: Built, kept: Mapping[str, GraphFiles]) -> Iterator[Engine]:
    for name, graph in built.graphs.items():
        yield from (engine for engine in graph.engines if engine not in kept[name].engines)


def _targets(old: tuple[str, ...], builder: BuilderName) -> tuple[str, ...]:
    """A bundle that was exported for CPUs can now be served on the GPU, too."""
    fresh = (name for name in TARGETS if find_target(name).builder == builder and name not in old)
    return (*old, *fresh)


def _rows(bundle: Bundle) -> Table:
    golden = bundle.manifest.golden
    return {} if golden is None else read_rows(bundle.path / golden.rows, bundle.pipeline.schema)


def _check_answers(folder: Path) -> None:
    """The new bundle is whole, and answers as the old one did."""
    report = verify(folder)
    if not report.ok:
        raise ExportError(
            where=str(folder),
            what=f"the bundle with engines is not sound: {report.problems[0]}",
            mend="Report this; nothing was changed",
        )
