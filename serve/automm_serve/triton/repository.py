"""The folders that a server is pointed at: links into bundles, and the backends with our runtime.

A bundle is never written to. Its models are linked into a folder of the launcher's, so that
another bundle takes over by changing links, and the server runs our copy of `automm_serve`. The
files themselves are held while they are served: whoever lays another bundle at the same path does
not take them away.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct

from automm_serve.bundle import MEND, file_fault
from automm_serve.errors import BundleError, ConfigError, near_name
from automm_serve.manifest import REPOSITORY, Manifest, read_manifest
from automm_serve.triton import IN_PROCESS, MODEL_PY
from automm_serve.triton.locate import ServerParts

OUR_RUNTIME = Path(__file__).resolve().parents[1]


class ServedBundle(Struct, frozen=True):
    """A bundle that was looked through for a target.

    Attributes:
        path: Of the bundle.
        manifest: Its table of contents.
        target: For which it is served.
        held: Folder of the launcher's with the same models; the bundle's own where None.
    """

    path: Path
    manifest: Manifest
    target: str
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

    def folder(self, model: str) -> Path:
        """Return where a model lies."""
        return (self.held or self.path / REPOSITORY) / model


def open_served(path: Path, target: str, name: str = "") -> ServedBundle:
    """Look a bundle through for what a server takes in silence or answers with a hang.

    Args:
        path: Of the bundle.
        target: One that it was exported for.
        name: Of the model, where the caller insists on one.

    Raises:
        BundleError: It is no bundle, or a file is missing or not ours.
        ConfigError: It was not exported for this target, or has another name.
    """
    path = path.resolve()
    _, manifest = read_manifest(path)
    bundle = ServedBundle(path, manifest, target)
    if name and name != manifest.name:
        raise ConfigError(
            where=f"bundle {path}",
            what=f"its model is called {manifest.name!r}, not {name!r}",
            mend=f"Leave the name out, or export the bundle with --name {name}",
        )
    _check_target(bundle)
    _check_files(bundle)
    return bundle


def hold(bundle: ServedBundle, scratch: Path) -> ServedBundle:
    """Return the bundle with its models in a folder of ours, where nobody replaces them.

    They are hard links, which cost nothing; copies where that folder is on another disk.
    """
    held = Path(tempfile.mkdtemp(prefix="held_", dir=scratch))
    for model in (bundle.name, *bundle.graphs):
        shutil.copytree(
            bundle.folder(model),
            held / model,
            copy_function=_link_or_copy,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
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


def _link_or_copy(source: str, target: str) -> None:
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


def _check_target(bundle: ServedBundle) -> None:
    chosen = bundle.folder(bundle.name) / "configs" / f"{bundle.target}.pbtxt"
    if chosen.is_file():
        return
    # The server would start on config.pbtxt, another target, without a word.
    known = sorted(path.stem for path in chosen.parent.glob("*.pbtxt"))
    near = near_name(bundle.target, known)
    raise ConfigError(
        where=f"bundle {bundle.path}",
        what=f"it was not exported for the target {bundle.target!r}"
        + (f", but for {near!r}" if near else ""),
        mend=f"Choose one of {', '.join(known) or 'none: the folder configs is empty'}",
    )


def _check_files(bundle: ServedBundle) -> None:
    version = bundle.folder(bundle.name) / "1"
    # Without a model.py the server hangs while it loads, and says nothing.
    needed = [version / "model.py", version / "pipeline.json"]
    for path in needed:
        if not path.exists():
            raise BundleError(
                where=f"bundle {bundle.path}",
                what=f"{path.relative_to(bundle.path)} is missing",
                mend=MEND,
            )
    for graph in bundle.manifest.graphs.values():
        for name in graph.files.values():
            fault = file_fault(bundle.path, name, bundle.manifest.files[name].size_bytes)
            if fault:
                raise BundleError(where=str(bundle.path / name), what=fault, mend=MEND)
    if (version / "model.py").read_bytes() != MODEL_PY.encode():
        raise BundleError(
            where=f"bundle {bundle.path}",
            what="its model.py is not the one line that every bundle has, so it is not run",
            mend="Export the bundle again, and look who changed the file",
        )
