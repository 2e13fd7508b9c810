"""The folders that a server is pointed at: links into bundles, and the backends with our runtime.

A bundle is never written to. Its models are linked into a folder of the launcher's, so that
another bundle takes over by changing links, and the server runs our copy of `automm_serve`. The
files themselves are held while they are served: whoever lays another bundle at the same path does
not take them away.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct

from automm_serve.bundle import MEND, file_fault
from automm_serve.devices import check_engine, check_precision
from automm_serve.engines import Engine, precision_of
from automm_serve.errors import BundleError, ConfigError, ServerError
from automm_serve.manifest import REPOSITORY, Manifest, read_manifest
from automm_serve.onnx_file import check_weight_files
from automm_serve.precisions import FP32
from automm_serve.tensors import BATCH
from automm_serve.triton import (
    ENGINES,
    IN_PROCESS,
    KNOWN_MODEL_PY,
)
from automm_serve.triton.config_check import check_models, served_files
from automm_serve.triton.configs import choose_config, place_config
from automm_serve.triton.locate import ServerParts

OUR_RUNTIME = Path(__file__).resolve().parents[1]


class ServedBundle(Struct, frozen=True):
    """A bundle that was looked through for a target.

    Attributes:
        path: Of the bundle.
        manifest: Its table of contents.
        target: For which it is served.
        precision: In which the graphs run.
        config: Name of the configuration that says so.
        held: Folder of the launcher's with the same models; the bundle's own where None.
    """

    path: Path
    manifest: Manifest
    target: str
    precision: str = FP32
    config: str = ""
    held: Path | None = None

    @property
    def name(self) -> str:
        """The model that clients ask."""
        return self.manifest.name

    @property
    def graphs(self) -> tuple[str, ...]:
        """Folders of the graphs."""
        return tuple(sorted(graph.model for graph in self.manifest.graphs.values()))

    @property
    def graph_models(self) -> tuple[str, ...]:
        """Graphs that are models of their own for this target, to be loaded before NAME."""
        return () if self.target in IN_PROCESS else self.graphs

    @property
    def max_batch(self) -> int:
        """Most rows of one request: engines take no more than they were built for."""
        built = [
            profile.axes[BATCH.name].max
            for graph in self.manifest.graphs
            for engine in self.engines(graph)
            for profile in engine.profiles
            if BATCH.name in profile.axes
        ]
        return min([self.manifest.max_batch, *built])

    def engines(self, graph: str) -> tuple[Engine, ...]:
        """Return the engines of a graph that this target takes."""
        return tuple(
            engine
            for engine in self.manifest.graphs[graph].engines
            if engine.builder == ENGINES.get(self.target)
            and precision_of(engine.precision) == self.precision
        )

    def folder(self, model: str) -> Path:
        """Return where a model lies."""
        return (self.held or self.path / REPOSITORY) / model


def open_served(path: Path, target: str, name: str = "", precision: str = "") -> ServedBundle:
    """Look a bundle through for what a server takes in silence or answers with a hang.

    Args:
        path: Of the bundle.
        target: One that it was exported for.
        name: Of the model, where the caller insists on one.
        precision: In which the graphs shall run; what the target runs by itself where empty.

    Raises:
        BundleError: It is no bundle, or a file is missing or not ours, or a configuration says
            what ours do not, or the target needs engines that were not built.
        ConfigError: It was not exported for this target or precision, or has another name.
    """
    path = path.resolve()
    _, manifest = read_manifest(path)
    if name and name != manifest.name:
        raise ConfigError(
            where=f"bundle {path}",
            what=f"its model is called {manifest.name!r}, not {name!r}",
            mend=f"Leave the name out, or export the bundle with --name {name}",
        )
    if precision:
        check_precision(path, manifest, precision)
    try:
        _check_files(path, manifest)
        config, found = choose_config(path, manifest, target, precision)
        bundle = ServedBundle(path, manifest, target, found, config)
        _check_engines(bundle)
    except OSError as error:  # somebody takes it away meanwhile
        raise BundleError(
            where=f"bundle {path}", what=f"it cannot be read: {error}", mend=MEND
        ) from error
    return bundle


def hold(bundle: ServedBundle, scratch: Path, config: str) -> ServedBundle:
    """Return the bundle with its models in a folder of ours, where nobody replaces them.

    They are hard links, which cost nothing; copies where that folder is on another disk. What the
    manifest does not list, nobody has looked at: it stays behind.

    Args:
        bundle: To hold.
        scratch: Of the launcher.
        config: Name of the configuration that the server was told. The same precision may have
            another name in another bundle, where it is the default or no more; it is renamed.

    Raises:
        ServerError: The files cannot be linked or copied; nothing of them is left.
    """
    held = scratch / f"held_{secrets.token_hex(8)}"
    digest = bundle.manifest.content_sha256
    try:
        for name in served_files(bundle.manifest):
            target = held / Path(name).relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(bundle.path / name, target)
        for model in (bundle.name, *bundle.graph_models):
            place_config(held / model / "configs", bundle.config, config, digest)
    except OSError as error:
        shutil.rmtree(held, ignore_errors=True)
        raise ServerError(
            where=f"bundle {bundle.path}",
            what=f"it cannot be held: {error}",
            mend=f"Make room in {scratch.parent}, and let nobody change the bundle meanwhile",
        ) from error
    return msgspec.structs.replace(bundle, held=held)


def release(bundle: ServedBundle) -> None:
    """Let go what ``hold`` holds."""
    if bundle.held is not None:
        shutil.rmtree(bundle.held, ignore_errors=True)


def link_graphs(repository: Path, bundle: ServedBundle) -> None:
    """Let the graphs of the repository be the bundle's."""
    for graph in bundle.graphs:
        _point(repository / graph, bundle.folder(graph))


def link_public(repository: Path, bundle: ServedBundle) -> None:
    """Let NAME be the bundle's, in one step.

    Its folder is a new one each time, with a link for each file. Python writes its cache beside
    `model.py`, and nothing is written into a bundle; and the server takes a folder that is not
    newer than the last for the same model, and does not load it.
    """
    source = bundle.folder(bundle.name)
    taken = Path(tempfile.mkdtemp(prefix="taken_", dir=repository.parent))
    for file in source.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            link = taken / file.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    _point(repository / bundle.name, taken)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copy2(source, target)


def _point(link: Path, folder: Path) -> None:
    fresh = link.parent.parent / f"{link.name}.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder, target_is_directory=True)
    fresh.replace(link)


def link_backends(folder: Path, parts: ServerParts) -> None:
    """Lay the server's backends out as it expects them, our runtime beside the Python stub.

    The folder of the Python backend is on the stub's `sys.path`: nothing need be installed.
    """
    folder.mkdir(parents=True)
    for backend in parts.backends:
        if backend.name != "python":
            (folder / backend.name).symlink_to(backend, target_is_directory=True)
            continue
        ours = folder / "python"
        ours.mkdir()
        for source in (*backend.iterdir(), *([parts.stub] if parts.stub else []), OUR_RUNTIME):
            if source.suffix == ".so":  # a backend written in Python refuses a link that leads out
                shutil.copy(source, ours)
            elif source.name != "__pycache__":
                (ours / source.name).symlink_to(source)


def _check_engines(bundle: ServedBundle) -> None:
    """Without an engine the server would load nothing, and say a file name alone."""
    if bundle.target not in ENGINES:
        return
    for name, graph in bundle.manifest.graphs.items():
        engines = bundle.engines(name)
        if not engines:
            raise BundleError(
                where=f"bundle {bundle.path}",
                what=f"its graph {name!r} has no engine of {ENGINES[bundle.target]} in "
                f"{bundle.precision}, which the target {bundle.target!r} runs",
                mend="Build it on the machine that serves",
                command=f"automm compile {bundle.path}",
            )
        for engine in engines:
            check_engine(bundle.path, bundle.manifest, graph, engine)


def _check_files(path: Path, manifest: Manifest) -> None:
    code = f"{REPOSITORY}/{manifest.name}/1/model.py"
    # Without a model.py the server hangs while it loads, and says nothing.
    for name in (code, f"{REPOSITORY}/{manifest.name}/1/pipeline.json"):
        if name not in manifest.files or not (path / name).exists():
            raise BundleError(where=f"bundle {path}", what=f"{name} is missing", mend=MEND)
    if (path / code).read_bytes() not in map(str.encode, KNOWN_MODEL_PY):
        raise BundleError(
            where=f"bundle {path}",
            what="its model.py is not the one that every bundle has, so it is not run",
            mend="Export the bundle again, and look who changed the file",
        )
    for name, facts in manifest.files.items():
        fault = file_fault(path, name, facts.size_bytes)
        if fault:
            raise BundleError(where=str(path / name), what=fault, mend=MEND)
    check_weight_files(path, manifest)
    check_models(path, manifest)
