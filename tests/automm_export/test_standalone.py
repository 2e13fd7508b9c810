"""``lib/``: what a server needs that has Python and numpy, and nothing else."""

import platform
import shutil
import sys
from pathlib import Path
from zipfile import ZipFile

import msgspec
import pytest

from automm_export.export import ExportOptions, export
from automm_export.standalone import NOTICES, PACKAGES, check_tag, folder_size, write_lib
from automm_serve.agreement import compare_answers
from automm_serve.bundle import Bundle
from automm_serve.errors import ConfigError, ExportError
from automm_serve.golden import read_answers
from automm_serve.manifest import REPOSITORY
from automm_serve.triton import MODEL_PY
from automm_serve.verify import verify
from tests.automm_export.bare import ask_bare, bare_python
from tests.automm_export.tiny import export_tiny, exportable
from tests.needs import require_or_skip

HERE = f"cp{sys.version_info[0]}{sys.version_info[1]}-{platform.machine()}"


@pytest.fixture(scope="module")
def standalone(tmp_path_factory):
    """``(path, report)`` of a bundle that carries its runtime for this Python."""
    path = tmp_path_factory.mktemp("standalone") / "bundle"
    try:
        return path, export(exportable(), path, ExportOptions(standalone=(HERE, HERE)))
    except ExportError as error:
        if "index can be reached" not in str(error):
            raise
        require_or_skip("pip", f"pip reaches no index: {error}")


def test_the_bundle_lists_what_it_carries_and_verifies(standalone):
    path, report = standalone
    manifest = Bundle.open(path).manifest
    assert manifest.libraries == (HERE,)
    assert list(report.seconds)[-4:] == ["standalone", "repository", "answers", "digests"]
    assert verify(path).ok
    folder = path / "lib" / HERE
    assert {"automm_serve", "PIL", "tokenizers", "msgspec"} <= {p.name for p in folder.iterdir()}
    carried = {p.name.partition("-")[0] for p in folder.glob("*.dist-info")}
    assert carried == set(PACKAGES)  # neither numpy, nor a client of a hub
    assert not list(folder.rglob("__pycache__"))
    assert 20e6 < folder_size(folder) < 60e6
    assert all(f"lib/{HERE}/{name}" in manifest.files for name in ("automm_serve/wire.py",))


def test_every_package_stands_in_the_notices_with_its_licence_and_texts_that_are_there(standalone):
    path, _ = standalone
    text = (path / NOTICES).read_text()
    for package in (*PACKAGES, "automm-edge"):
        assert f"  {package} " in text
    named = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    assert len(named) >= len(PACKAGES) + 1
    assert all((path / name).is_file() for name in named)


def test_a_flipped_byte_in_a_library_is_named(standalone, tmp_path):
    copied = Path(shutil.copytree(standalone[0], tmp_path / "copied"))
    victim = next((copied / "lib").rglob("msgspec/*.so"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    assert any(victim.name in problem for problem in verify(copied).problems)


def test_a_bundle_without_lib_has_the_same_code_and_no_notices(exported):
    path, _ = exported
    assert (path / REPOSITORY / "tiny" / "1" / "model.py").read_text() == MODEL_PY
    assert not (path / NOTICES).exists()
    assert Bundle.open(path).manifest.libraries == ()


@pytest.mark.parametrize("tag", ["", "py3", "cp312", "cp312-arm64", "cp312-x86_64-musl", "../x"])
def test_what_is_no_tag_is_refused_before_any_work(tmp_path, tag):
    with pytest.raises(ConfigError, match=r"no tag of a Python.*cp312-x86_64"):
        export(exportable(), tmp_path / "bundle", ExportOptions(standalone=(tag,)))
    assert not (tmp_path / "bundle").exists()


def test_a_python_that_the_runtime_does_not_run_on_is_refused_with_the_reason():
    assert check_tag("cp313-aarch64") == "3.13"
    with pytest.raises(ConfigError, match=r"Python 3\.10, and the runtime needs 3\.11"):
        check_tag("cp310-x86_64")


def wheel(folder: Path, name: str, files: dict[str, str]) -> None:
    """A wheel for every Python, of the version that is installed here."""
    from importlib.metadata import version

    info = f"{name}-{version(name)}.dist-info"
    files |= {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version(name)}\n"
        "License: MIT\nClassifier: License :: OSI Approved :: MIT License\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/LICENSE": "do what you want",
        f"{info}/RECORD": "",
    }
    with ZipFile(folder / f"{name}-{version(name)}-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)


def test_wheels_that_were_gathered_beforehand_need_no_index(tmp_path, monkeypatch):
    gathered = tmp_path / "wheels"
    gathered.mkdir()
    for name in PACKAGES:
        wheel(gathered, name, {f"{name}/__init__.py": "", f"{name}-1.data/scripts/run": "no"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(gathered))
    said: list[str] = []
    assert write_lib(tmp_path, ("cp312-aarch64",), said.append) == ("cp312-aarch64",)
    assert said[0].startswith("lib/cp312-aarch64: ")
    folder = tmp_path / "lib" / "cp312-aarch64"
    assert all((folder / name / "__init__.py").is_file() for name in PACKAGES)
    assert not list(folder.rglob("run"))
    assert "pillow" in (tmp_path / NOTICES).read_text()


def test_a_file_of_a_wheel_that_climbs_is_left_out(tmp_path, monkeypatch):
    gathered = tmp_path / "wheels"
    gathered.mkdir()
    for name in PACKAGES:
        wheel(gathered, name, {f"{name}/__init__.py": "", "../../climbed.py": "import os"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(gathered))
    write_lib(tmp_path / "bundle", ("cp312-x86_64",))
    assert not list(tmp_path.rglob("climbed.py"))


def test_a_wheel_that_is_not_there_is_named_with_what_is(tmp_path, monkeypatch):
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    with pytest.raises(ExportError, match="index can be reached"):
        export_tiny(tmp_path / "bundle", options=ExportOptions(standalone=("cp312-x86_64",)))
    assert not (tmp_path / "bundle").exists()


def test_a_bare_python_with_numpy_alone_loads_the_class_and_answers_the_golden_rows(
    standalone, tmp_path
):
    path, _ = standalone
    said = ask_bare(tmp_path, path)
    assert all(home.startswith(str(path / "lib" / HERE)) for home in said["homes"].values())
    opened = Bundle.open(path)
    expected = read_answers(path / "golden" / "answers.json").programs
    for name, program in opened.pipeline.programs.items():
        columns = {
            column.name: [
                cells if column.kind == "vector" else cells[0]
                for cells in said["answers"][name][column.name]
            ]
            for column in program.answer.columns
        }
        compared = compare_answers("triton", name, program.answer, expected[name], columns)
        assert compared
        assert all(parity.holds for parity in compared), compared
        assert all(text == [""] for text in said["answers"][name]["row_error"])


def test_the_same_python_without_lib_does_not_load_the_class(standalone, tmp_path):
    copied = Path(shutil.copytree(standalone[0], tmp_path / "copied"))
    shutil.rmtree(copied / "lib")
    process = bare_python(tmp_path, copied)
    process.communicate(msgspec.json.encode({"config": {}}).decode() + "\n")
    assert process.returncode
    assert "No module named 'automm_serve'" in (tmp_path / "stderr").read_text()
