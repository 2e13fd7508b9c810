"""``compile_bundle``: engines added to a bundle that exists, or nothing changed."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from automm_export.engines import choose
from automm_export.engines import compile as module
from automm_export.engines.compile import compile_bundle
from automm_export.engines.options import EngineOptions
from automm_serve import atomic
from automm_serve.bundle import Bundle, load
from automm_serve.errors import BundleError, ConfigError, ExportError, MissingDependencyError
from automm_serve.manifest import FORMAT, Manifest, encode_manifest
from automm_serve.verify import file_digest, files_in, verify
from tests.automm_export.tiny import rows
from tests.needs import need_rtx


@pytest.fixture
def bundle(exported, tmp_path):
    """A bundle without engines that a test may change."""
    return Path(shutil.copytree(exported[0], tmp_path / "bundle"))


@pytest.fixture
def rtx():
    need_rtx()


def contents(folder: Path) -> dict[str, str]:
    return {name: file_digest(folder / name) for name in files_in(folder)}


def unsealed(manifest: Manifest) -> dict[str, Any]:
    """A manifest without what follows from the bytes of an engine."""
    facts: dict[str, Any] = msgspec.to_builtins(manifest)
    for graph in facts["graphs"].values():
        engines = [{**engine, "path": ""} for engine in graph["engines"]]
        graph.update(model="", files=sorted(graph["files"]), engines=engines)
    del facts["files"], facts["content_sha256"], facts["sha256"]
    return facts


@pytest.mark.rtx
@pytest.mark.usefixtures("rtx")
def test_engines_are_added_and_all_else_stays(bundle):
    before, answers = Bundle.open(bundle).manifest, load(bundle).run(rows()).columns
    stages: list[str] = []
    report = compile_bundle(bundle, watch=stages.append)
    after = Bundle.open(bundle).manifest
    assert stages[0] == "check the files"
    assert [engine.path.rsplit("/")[-1] for engine in report.engines] == ["model.fp32.rtx"]
    assert after.graphs["predict"].engines == report.engines
    assert report.golden == 12
    assert verify(bundle).ok
    assert after.content_sha256 != before.content_sha256
    assert after.graphs["predict"].model != before.graphs["predict"].model
    assert set(after.targets) - set(before.targets) == {"gpu_rtx"}
    assert after.made == before.made
    assert any("not executed" in line for line in after.parity.not_run)
    assert str(load(bundle).run(rows()).columns) == str(answers)
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


@pytest.mark.rtx
@pytest.mark.usefixtures("rtx")
def test_again_changes_the_engine_alone_and_one_precision_replaces_its_own(bundle):
    compile_bundle(bundle)
    once = Bundle.open(bundle).manifest
    compile_bundle(bundle)
    again = Bundle.open(bundle).manifest
    assert unsealed(again) == unsealed(once)  # TensorRT does not always write the same bytes
    compile_bundle(bundle, options=EngineOptions(capabilities=("8.6",)))
    (engine,) = Bundle.open(bundle).manifest.graphs["predict"].engines
    assert engine.capabilities == ("8.6",)
    assert len(Bundle.open(bundle).manifest.parity.not_run) == 2  # Triton, and one for engines
    assert verify(bundle).ok


@pytest.mark.rtx
@pytest.mark.usefixtures("rtx")
def test_elsewhere_it_is_a_bundle_of_its_own_and_the_old_one_stays(bundle, tmp_path):
    before = contents(bundle)
    compile_bundle(bundle, tmp_path / "other")
    assert contents(bundle) == before
    assert verify(tmp_path / "other").ok
    for name in files_in(tmp_path / "other"):
        assert (tmp_path / "other" / name).stat().st_nlink == 1, name
    with pytest.raises(ConfigError, match="not empty"):
        compile_bundle(bundle, tmp_path / "other")


@pytest.mark.rtx
@pytest.mark.usefixtures("rtx")
def test_what_holds_the_old_files_by_links_keeps_them_as_they_were(bundle, tmp_path):
    held = tmp_path / "held"  # a server holds what it serves so
    shutil.copytree(bundle, held, copy_function=os.link)
    before = contents(held)
    compile_bundle(bundle)
    compile_bundle(bundle, options=EngineOptions(max_batch=4))
    assert contents(held) == before


@pytest.mark.rtx
@pytest.mark.usefixtures("rtx")
def test_neither_torch_nor_onnx_is_needed(bundle):
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxscript', 'transformers', 'lightning', 'pandas'):\n"
        "    sys.modules[name] = None\n"
        "from automm.cli.main import main\n"
        f"main(['compile', {str(bundle)!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "RTX 30, 40 and 50 cards" in done.stdout
    assert Bundle.open(bundle).manifest.graphs["predict"].engines


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.rtx
@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("which", ["model.onnx", "rows.jsonl"])
def test_a_file_that_is_not_what_was_exported_is_refused(bundle, which):
    damage(next(path for path in bundle.rglob(which)))
    before = contents(bundle)
    with pytest.raises(BundleError, match="not what was exported"):
        compile_bundle(bundle)
    assert contents(bundle) == before


def fail_in(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(module, "rewrite_targets", fail)


@pytest.mark.rtx
@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_full_disk_is_one_clear_error_and_nothing_is_changed(bundle, monkeypatch, elsewhere):
    before = contents(bundle)
    fail_in(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "x"))
    out = bundle.parent / "other" if elsewhere else None
    with pytest.raises(ConfigError, match=r"No space left on device.*nothing was written"):
        compile_bundle(bundle, out)
    assert contents(bundle) == before
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


@pytest.mark.rtx
@pytest.mark.usefixtures("rtx")
def test_another_error_of_the_system_keeps_its_traceback(bundle, monkeypatch):
    fail_in(monkeypatch, OSError(errno.EIO, "Input/output error"))
    with pytest.raises(OSError, match="Input/output"):
        compile_bundle(bundle)
    assert verify(bundle).ok


@pytest.mark.rtx
@pytest.mark.usefixtures("rtx")
def test_an_interruption_changes_nothing(bundle):
    before = contents(bundle)

    def interrupt(file: str, share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_bundle(bundle, progress=interrupt)
    assert contents(bundle) == before
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


@pytest.mark.rtx
@pytest.mark.usefixtures("rtx")
def test_a_builder_that_is_killed_changes_nothing(bundle, monkeypatch):
    before = contents(bundle)
    start = subprocess.Popen

    def killed(command: list[str], **pipes: Any) -> object:
        return start([command[0], "-c", "import os; os.kill(os.getpid(), 9)"], **pipes)

    monkeypatch.setattr(subprocess, "Popen", killed)
    with pytest.raises(ExportError, match="ran out of memory"):
        compile_bundle(bundle)
    assert contents(bundle) == before
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


@pytest.mark.rtx
@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize(
    ("options", "what"),
    [
        (EngineOptions(max_length=16), "would refuse some of them"),
        (EngineOptions(precisions=("fp16",)), "no graph of it for engines"),
        (EngineOptions(capabilities=("8.7",)), "Jetson Orin"),
        (EngineOptions(builder="tensorrt_rtx", target="triton:26.04"), "none of TensorRT for RTX"),
        (EngineOptions(target="triton:1.1"), "not installed|such a release"),
        (EngineOptions(min_batch=8, max_batch=4), "--min-batch"),
    ],
)
def test_what_does_not_fit_the_bundle_is_refused_with_the_way(bundle, options, what):
    before = contents(bundle)
    with pytest.raises((ConfigError, MissingDependencyError), match=what):
        compile_bundle(bundle, options=options)
    assert contents(bundle) == before


def test_without_a_builder_the_package_is_named(bundle, monkeypatch):
    monkeypatch.setattr(choose, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="tensorrt-rtx"):
        compile_bundle(bundle)


@pytest.mark.rtx
@pytest.mark.usefixtures("rtx")
def test_a_bundle_of_the_first_format_gets_engines_too(bundle):
    raw = Bundle.open(bundle).manifest
    (bundle / "bundle.json").write_bytes(
        encode_manifest(msgspec.structs.replace(raw, format=1, lengths={}))
    )
    compile_bundle(bundle)
    manifest = Bundle.open(bundle).manifest
    assert (manifest.format, len(manifest.graphs["predict"].engines)) == (FORMAT, 1)
    assert verify(bundle).ok


def test_only_a_full_disk_is_told_as_one(tmp_path):
    with pytest.raises(ConfigError, match="Free some space"), atomic.write_folder(tmp_path / "a"):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")
    with pytest.raises(OSError, match="no such"), atomic.write_folder(tmp_path / "a"):
        raise OSError(errno.ENOENT, "no such file")
    assert list(tmp_path.iterdir()) == []
