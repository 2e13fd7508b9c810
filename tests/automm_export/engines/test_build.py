"""Engines in a bundle that is exported: what is built, recorded, said, and refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from automm_export.engines import build, choose
from automm_export.engines.build import build_engines
from automm_export.engines.job import Done, Event, Failed, Job
from automm_export.engines.messages import to_error
from automm_export.engines.options import EngineOptions
from automm_export.export import ExportOptions, export
from automm_serve.bundle import Bundle
from automm_serve.errors import ConfigError, ExportError
from automm_serve.gpu import Gpu
from automm_serve.manifest import Manifest
from automm_serve.verify import file_digest, verify
from tests.automm_export.tiny import exportable, rows
from tests.needs import need_rtx

CARD = Gpu("NVIDIA A10", "8.6", 24 << 30)
TRT = ExportOptions(trt=True)


@pytest.fixture
def pretend(monkeypatch):
    """``pretend(packages, gpu)``: a machine, and a builder that writes a word; the jobs it got."""

    def make(packages: tuple[str, ...], gpu: Gpu | None = None) -> list[Job]:
        jobs: list[Job] = []

        def write(job: Job, tell: Callable[[Event], None]) -> Done:
            jobs.append(job)
            Path(job.engine).write_bytes(f"engine of {job.precision}".encode())
            return Done("10.13.3.9", 5)

        monkeypatch.setattr(choose, "find_gpus", lambda: (gpu,) if gpu else ())
        monkeypatch.setattr(choose, "find_spec", lambda name: name if name in packages else None)
        monkeypatch.setattr(build, "build_apart", write)
        monkeypatch.setattr(build, "compare_engines", lambda folder, graphs, *rest: (graphs, ()))
        return jobs

    return make


def build_in(path: Path, options: EngineOptions, **more: Any) -> Any:
    bundle = Bundle.open(path)
    return build_engines(
        path, bundle.manifest.graphs, options, pipeline=bundle.pipeline, rows=rows(), **more
    )


def manifest_of(path: Path) -> Manifest:
    return Bundle.open(path).manifest


@pytest.fixture(scope="module")
def with_engines(tmp_path_factory):
    """``(path, report)`` of an export by TensorRT for RTX, as it is."""
    need_rtx()
    path = tmp_path_factory.mktemp("engines") / "b"
    return path, export(exportable(), path, TRT)


@pytest.mark.rtx
def test_export_builds_ahead_of_time_and_the_bundle_says_with_what(with_engines):
    path, report = with_engines
    graph = manifest_of(path).graphs["predict"]
    (engine,) = graph.engines
    assert report.engines == (engine,)
    assert (engine.builder, engine.precision) == ("tensorrt_rtx", "fp32")
    assert engine.capabilities == ("8.6", "8.9", "12.0")
    assert engine.device == ""
    assert engine.difference is None
    assert engine.graph_sha256 == file_digest(path / graph.files["fp32"])
    (built,) = report.builds
    assert built.file == "model.fp32.rtx"
    assert built.size_bytes == (path / engine.path).stat().st_size
    assert "--computeCapabilities=86,89,120" in built.command
    assert any("not executed" in line for line in report.parity.not_run)
    assert manifest_of(path).parity == report.parity
    assert verify(path).ok


@pytest.mark.rtx
def test_an_rtx_file_is_in_no_configuration_of_the_tensorrt_backend(with_engines):
    configurations = list(with_engines[0].rglob("*.pbtxt"))
    plans = [path for path in configurations if "tensorrt_plan" in path.read_text()]
    assert plans
    assert not any(".rtx" in path.read_text() for path in plans)
    others = {path.name for path in configurations if ".rtx" in path.read_text()}
    assert others == {"gpu_rtx.pbtxt"}  # the control: it is named where it is served


def test_a_failure_of_the_builder_fails_the_export_and_nothing_is_written(
    tmp_path, pretend, monkeypatch
):
    pretend(("tensorrt_rtx",))

    def lacking(job: Job, tell: object) -> Done:
        raise to_error(job, Failed("operator", "", ()))

    monkeypatch.setattr(build, "build_apart", lacking)
    with pytest.raises(ExportError, match="it has no operator"):
        export(exportable(), tmp_path / "b", TRT)
    assert list(tmp_path.iterdir()) == []


def test_with_no_builder_the_bundle_is_whole_and_says_what_is_missing(tmp_path, pretend):
    pretend(())
    report = export(exportable(), tmp_path / "b", TRT)
    assert report.engines == ()
    assert len(report.missing) == 2
    assert {"gpu_trt", "gpu_rtx"} <= set(report.targets)
    assert verify(tmp_path / "b").ok


def test_an_engine_that_is_required_and_cannot_be_is_refused_before_any_work(tmp_path, pretend):
    pretend(())
    options = ExportOptions(trt=True, require_engine=True)
    stages: list[str] = []
    with pytest.raises(ConfigError, match="no engine can be built here"):
        export(exportable(), tmp_path / "b", options, watch=stages.append)
    assert stages == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (EngineOptions(capabilities=("9.0",)), "9.0"),
        (EngineOptions(capabilities=("7.5",)), "7.5"),
        (EngineOptions(min_batch=9, max_batch=8), "--min-batch"),
        (EngineOptions(max_length=999), "--max-length"),
        (EngineOptions(max_length=2), "--max-length"),
        (EngineOptions(precisions=("bf16",)), "bf16"),
        (EngineOptions(precisions=("fp8",)), "fp8"),
        (EngineOptions(builder="tensort"), "tensort"),  # type: ignore[arg-type]  # a slip
    ],
)
def test_a_wrong_option_is_refused_before_any_work(tmp_path, pretend, options, where):
    pretend(("tensorrt_rtx",))
    stages: list[str] = []
    with pytest.raises(ConfigError, match=where):
        export(exportable(), tmp_path / "b", ExportOptions(trt=True, engines=options),
               watch=stages.append)  # fmt: skip
    assert stages == []


def test_a_plan_is_named_by_its_gpu_and_keeps_timings_outside_the_bundle(
    exported, tmp_path, pretend, monkeypatch
):
    monkeypatch.setenv("AUTOMM_CACHE", str(tmp_path / "cache"))
    jobs = pretend(("tensorrt",), CARD)
    path, _ = exported
    try:
        built = build_in(path, EngineOptions())
        (engine,) = built.graphs["predict"].engines
        assert engine.path.endswith("/1/model.fp32.sm86.plan")
        assert (engine.capabilities, engine.device) == (("8.6",), "NVIDIA A10")
        assert jobs[0].capabilities == ()
        assert jobs[0].timing_cache.startswith(str(tmp_path / "cache"))
        assert "trtexec" in built.builds[0].command
    finally:
        Path(jobs[0].engine).unlink()


def with_files(path: Path, *keys: str) -> dict[str, Any]:
    """The graphs of a bundle as if it had these files beside fp32, too."""
    graph = manifest_of(path).graphs["predict"]
    files = {**graph.files, **dict.fromkeys(keys, graph.files["fp32"])}
    return {"predict": msgspec.structs.replace(graph, files=files)}


def test_each_precision_that_engines_know_is_built_and_int8_from_its_own_form(
    exported, pretend, tmp_path
):
    jobs = pretend(("tensorrt_rtx",))
    path, _ = exported
    graphs = with_files(path, "fp16", "bf16", "int8", "int8_qdq")
    try:
        built = build_engines(
            path, graphs, EngineOptions(capabilities=("7.5", "8.6")),
            pipeline=Bundle.open(path).pipeline, rows=rows(),
        )  # fmt: skip
        engines = {engine.precision: engine for engine in built.graphs["predict"].engines}
        assert list(map(str, sorted(engines))) == ["bf16", "fp16", "fp32", "int8"]
        assert engines["int8"].path.endswith("model.int8.rtx")
        assert engines["fp32"].capabilities == ("8.6",)
        assert engines["fp16"].capabilities == ("7.5", "8.6")
        assert any("fp32 for compute capability 7.5" in line for line in built.missing)
    finally:
        for job in jobs:
            Path(job.engine).unlink()


def test_int8_that_is_for_cpus_alone_is_said_to_have_no_engine(exported, pretend):
    jobs = pretend(("tensorrt_rtx",))
    path, _ = exported
    try:
        built = build_engines(
            path, with_files(path, "int8"), EngineOptions(),
            pipeline=Bundle.open(path).pipeline, rows=rows(),
        )  # fmt: skip
        assert [engine.precision for engine in built.graphs["predict"].engines] == ["fp32"]
        assert any(line.startswith("engine of int8") for line in built.missing)
    finally:
        for job in jobs:
            Path(job.engine).unlink()


def test_a_precision_that_the_bundle_lacks_is_refused_with_the_command(exported, pretend):
    pretend(("tensorrt_rtx",))
    with pytest.raises(ConfigError, match="no graph of it for engines, but fp32") as raised:
        build_in(exported[0], EngineOptions(precisions=("fp16",)))
    assert "--precision fp16" in raised.value.command
