"""``verify --target``: the golden rows under the ONNX Runtime of another release."""

import hashlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest

from automm_serve import verify_release as module
from automm_serve.errors import BundleError, ConfigError, ServerError
from automm_serve.manifest import MANIFEST
from automm_serve.releases import find_release
from automm_serve.verify_release import (
    NUMPY_1,
    Requirements,
    answer_in,
    make_environment,
    required,
    verify_release,
)
from tests.automm_serve import frozen
from tests.needs import require_or_skip

ONNX = next(frozen.V1.glob("model_repository/tiny__predict__*/1/model.onnx"))
NAME = ONNX.relative_to(frozen.V1).as_posix()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMM_CACHE", str(tmp_path / "cache"))


def set_ir(bundle: Path, number: int) -> None:
    """Let the graph name another IR version; it is the first field of the file."""
    path = bundle / NAME
    content = path.read_bytes()
    assert content[:2] == b"\x08\x09"
    path.write_bytes(bytes([8, number]) + content[2:])
    raw = msgspec.json.decode((bundle / MANIFEST).read_bytes())
    facts = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size_bytes": len(content)}
    frozen.rewrite(bundle, files={**raw["files"], NAME: facts})


def test_a_graph_of_too_new_an_ir_is_named_and_refused_before_anything_is_made(tmp_path):
    bundle = frozen.copy(tmp_path)
    set_ir(bundle, 14)
    with pytest.raises(BundleError) as raised:
        verify_release(bundle, "triton:25.10")
    assert str(raised.value).startswith(f"{NAME}: the graph has IR version 14, and triton:25.10")
    assert "loads 11 at most" in str(raised.value)
    assert not (tmp_path / "cache").exists()


def test_a_release_of_unknown_onnx_runtime_is_refused_and_no_other_is_taken(tmp_path):
    with pytest.raises(ConfigError, match=r"triton:26\.10.*version of ONNX Runtime is not known"):
        verify_release(frozen.V1, "triton:26.10")
    with pytest.raises(ConfigError, match="nothing is known of such a release"):
        verify_release(frozen.V1, "triton:23.01")
    assert not (tmp_path / "cache").exists()


def test_a_bundle_without_golden_rows_is_refused(tmp_path):
    bundle = frozen.copy(tmp_path)
    frozen.rewrite(bundle, golden=None)
    with pytest.raises(ConfigError, match="holds no golden rows"):
        verify_release(bundle, "triton:25.10")


def test_what_stands_for_a_release_has_its_onnx_runtime_numpy_1_and_our_preprocessing():
    found = required(find_release("triton:24.04"))
    assert found.onnxruntime == "1.17.3"
    assert found.numpy == NUMPY_1
    assert found.others == {n: version(n) for n in ("pillow", "tokenizers", "msgspec")}


def test_an_interpreter_that_does_not_run_is_named(tmp_path):
    for python in (tmp_path / "absent", Path("/bin/false")):
        with pytest.raises(ServerError, match=f"{python.name}.*--python"):
            make_environment(required(find_release("triton:25.10")), python)


def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index with nothing but three versions of onnxruntime, none of them the wanted one."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for number in ("1.20.0", "1.22.1", "1.30.0"):
        (wheels / f"onnxruntime-{number}-py3-none-any.whl").write_bytes(b"")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))


def test_a_version_without_a_wheel_is_named_with_the_nearest_that_has_one(tmp_path, monkeypatch):
    index(tmp_path, monkeypatch)
    wanted = Requirements("1.23.1", NUMPY_1, {})
    with pytest.raises(ServerError) as raised:
        make_environment(wanted, Path(sys.executable))
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    said = str(raised.value)
    assert f"onnxruntime 1.23.1: there is no wheel of it for Python {here}" in said
    assert "the nearest version that has one is 1.22.1" in said
    assert "with --python" in said
    assert not list((tmp_path / "cache").rglob("bin"))  # nothing half made


def test_what_is_not_found_at_all_is_no_version(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ServerError, match="nor of any version"):
        make_environment(Requirements("1.23.1", NUMPY_1, {}), Path(sys.executable))


def here(folder: Path) -> Path:
    """An environment as ``make_environment`` leaves it, with the packages of this process."""
    import site

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (target,) = folder.glob("lib/python*/site-packages")
    places = [*site.getsitepackages(), site.getusersitepackages()]
    (target / "here.pth").write_text("\n".join(places))
    return folder / "bin" / "python"


def test_the_golden_rows_are_answered_by_our_runtime_in_another_interpreter(tmp_path):
    found = answer_in(here(tmp_path / "venv"), frozen.V1)
    assert not found.error
    assert found.versions["onnxruntime"] == version("onnxruntime")
    assert {(g.program, g.column) for g in found.golden} == {
        ("predict", "kind"),
        ("predict", "probabilities"),
        ("embed", "features"),
    }
    assert all(g.holds for g in found.golden)


def test_an_answer_that_differs_is_a_problem_with_the_figure(tmp_path, monkeypatch):
    bundle = frozen.copy(tmp_path)
    path = bundle / "golden" / "answers.json"
    answers = msgspec.json.decode(path.read_bytes())
    answers["programs"]["predict"]["probabilities"][3][0] += 1e-3
    content = msgspec.json.encode(answers)
    path.write_bytes(content)
    raw = msgspec.json.decode((bundle / MANIFEST).read_bytes())
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    frozen.rewrite(bundle, files={**raw["files"], "golden/answers.json": facts})
    python = here(tmp_path / "venv")
    monkeypatch.setattr(module, "make_environment", lambda *_, **__: python)
    assert verify_release(frozen.V1, "triton:25.10").ok
    report = verify_release(bundle, "triton:25.10")
    assert not report.ok
    assert "column 'probabilities' differs by 0.001" in report.problems[0]


def test_a_damaged_bundle_and_a_dying_interpreter_are_told_apart(tmp_path):
    python = here(tmp_path / "venv")
    (tmp_path / "empty").mkdir()
    assert "there is no bundle.json" in answer_in(python, tmp_path / "empty").error
    with pytest.raises(ServerError, match="true"):
        answer_in(Path("/bin/true"), frozen.V1)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["triton:24.04", "triton:25.10", "triton:26.07"])
def test_the_frozen_bundle_answers_under_the_releases(target, tmp_path):
    try:
        report = verify_release(frozen.V1, target)
    except ServerError as error:
        if "index can be reached" in str(error) or "nor of any version" in str(error):
            require_or_skip("pip", str(error))
        raise
    assert report.ok, report.problems
    assert report.versions["onnxruntime"] == find_release(target).onnxruntime
    made = list((tmp_path / "cache").rglob("requirements.txt"))
    assert len(made) == 1
    before = made[0].stat().st_mtime_ns
    assert verify_release(frozen.V1, target).ok  # the same environment again
    assert made[0].stat().st_mtime_ns == before
