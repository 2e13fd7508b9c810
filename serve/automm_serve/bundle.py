"""A bundle: the folder that the export writes, opened with nothing but numpy and ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from automm_serve.devices import open_sessions
from automm_serve.errors import BundleError
from automm_serve.manifest import MANIFEST, Manifest, check_inside, read_manifest
from automm_serve.onnx_file import check_weight_files
from automm_serve.pipeline import Pipeline, load_pipeline
from automm_serve.precisions import FP32
from automm_serve.predictor import LocalPredictor


class Bundle(Struct, frozen=True):
    """An opened bundle; its files are where the manifest says, and as long.

    Attributes:
        path: Of the folder.
        manifest: What it holds.
        pipeline: What it does with rows.
    """

    path: Path
    manifest: Manifest
    pipeline: Pipeline

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Open a bundle, and check its structure. The digests are ``verify``'s: they take longer.

        Raises:
            BundleError: It is no bundle, is newer than this release, a file is absent, a link or
                of another size, a path leaves it, or its parts do not fit together.
        """
        folder = Path(path)
        _, manifest = read_manifest(folder)
        for name, facts in manifest.files.items():
            fault = file_fault(folder, name, facts.size_bytes)
            if fault:
                raise BundleError(where=str(folder / name), what=fault, mend=MEND)
        pipeline = load_pipeline(folder / manifest.pipeline)
        _check_graphs(folder, manifest, pipeline)
        check_weight_files(folder, manifest)
        return cls(folder, manifest, pipeline)

    def predictor(
        self, device: str = "auto", threads: int | None = None, precision: str | None = None
    ) -> LocalPredictor:
        """Load the graphs, and return what answers rows.

        Args:
            device: ``"auto"``, or one of ``devices.DEVICES``: ``"cpu"``, ``"cuda"``,
                ``"tensorrt"``, ``"tensorrt_rtx"``. ``"auto"`` takes the GPU where one is here and
                works, and warns where one is here and does not.
            threads: That one run of a graph may use on the CPU; the budget of the process where
                None.
            precision: ``"fp32"``, ``"fp16"``, ``"bf16"`` or ``"int8"``; where None, the bundle's
                default, or fp32 where the device cannot run that.

        Raises:
            BundleError: A graph cannot be loaded, or an engine was built for something else.
            ConfigError: There is no such device or precision, or the two do not go together.
            DeviceError: The device that was asked for is not here, or does not work.
            MissingDependencyError: What runs the graph is not installed.
        """
        opened = open_sessions(self.path, self.manifest, device, precision, threads)
        return LocalPredictor(self.pipeline, opened.sessions, opened.batch_size)


def load(
    path: str | Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    precision: str | None = None,
) -> LocalPredictor:
    """Open a bundle and return what answers rows: ``Bundle.open(path).predictor()``.

    Raises:
        BundleError: It is no bundle, is damaged, or is newer than this release.
        ConfigError: It does not run so on this device, or has not this precision.
        DeviceError: The device that was asked for is not here, or does not work.
    """
    return Bundle.open(path).predictor(device, threads, precision)


def file_fault(folder: Path, name: str, size_bytes: int) -> str:
    """Return what is wrong with a file of a bundle at first sight, or the empty text.

    A link is a fault, wherever on the way it lies: it may lead out of the bundle.
    """
    check_inside(name)
    path = folder
    for part in name.split("/"):
        path /= part
        if path.is_symlink():
            return f"{path.relative_to(folder).as_posix()} is a symbolic link"
    if not path.is_file():
        return "the file is absent"
    size = path.stat().st_size
    return "" if size == size_bytes else f"it has {size} bytes, and had {size_bytes} when written"


def _check_graphs(folder: Path, manifest: Manifest, pipeline: Pipeline) -> None:
    steps = {step.graph for program in pipeline.programs.values() for step in program.steps}
    lacking = sorted(steps - manifest.graphs.keys())
    if lacking:
        what = f"the pipeline runs the graph {lacking[0]!r}, which is not listed"
        raise BundleError(where=str(folder / MANIFEST), what=what, mend=MEND)
    for name, graph in manifest.graphs.items():
        if FP32 not in graph.files:
            what = f"graph {name!r} has no file of precision {FP32!r}"
            raise BundleError(where=str(folder / MANIFEST), what=what, mend=MEND)


MEND = "Copy the bundle anew from where it was exported, or export it again"
