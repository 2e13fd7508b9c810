"""``verify``: what was exported, and nothing else."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from automm_serve.manifest import MANIFEST, own_digest, read_manifest
from automm_serve.verify import verify
from tests.automm_serve import frozen

FILES = sorted(p.relative_to(frozen.V1).as_posix() for p in frozen.V1.rglob("*") if p.is_file())


def test_a_sound_bundle_is_ok_and_its_golden_answers_are_compared():
    report = verify(frozen.V1)
    assert report.ok, report.problems
    assert report.files == len(FILES)
    assert report.not_run == []
    assert {(g.program, g.column) for g in report.golden} == {
        ("predict", "kind"),
        ("predict", "probabilities"),
        ("embed", "features"),
    }


def test_each_precision_that_a_cpu_runs_is_asked_and_the_others_are_named():
    report = verify(frozen.V2)
    assert report.ok, report.problems
    assert [g.precision for g in report.golden] == ["fp32"] * 3 + ["fp16"] * 3
    assert report.not_run == ["golden rows in bf16: a CPU does not run it"]
    worst = {g.precision: g.difference for g in report.golden if g.column == "probabilities"}
    assert worst["fp32"] < 1e-6 < worst["fp16"]  # they are other files indeed


def test_a_precision_is_held_to_what_it_was_measured_to_differ_by(tmp_path):
    bundle = frozen.copy(tmp_path, frozen.V2)
    path = bundle / "golden" / "answers.json"
    answers = msgspec.json.decode(path.read_bytes())
    answers["programs"]["predict"]["probabilities"][3][0] += 5e-4
    path.write_bytes(msgspec.json.encode(answers))
    _redigest(bundle)
    problems = verify(bundle).problems
    assert len(problems) == 1  # within what fp16 may differ by, and not fp32
    assert problems[0].startswith("golden rows in fp32: program 'predict', column 'probabilities'")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_a_flipped_byte_in_any_file_is_named(tmp_path, name, place):
    bundle = frozen.copy(tmp_path)
    content = bytearray((bundle / name).read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    (bundle / name).write_bytes(content)
    report = verify(bundle)
    assert not report.ok
    assert any(name in problem for problem in report.problems)


def test_every_byte_of_the_manifest_counts(tmp_path):
    raw, manifest = read_manifest(frozen.V1)
    assert own_digest(raw, manifest) == manifest.sha256
    for place in range(len(raw)):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        if manifest.sha256.encode() in changed:  # else the named digest itself was changed
            assert own_digest(changed, manifest) != manifest.sha256


@pytest.mark.parametrize("name", FILES)
def test_an_absent_file_is_named(tmp_path, name):
    bundle = frozen.copy(tmp_path)
    (bundle / name).unlink()
    assert any(name in problem for problem in verify(bundle).problems)


def test_a_file_that_is_not_of_the_bundle_is_named(tmp_path):
    bundle = frozen.copy(tmp_path)
    (bundle / "model_repository" / "tiny" / "1" / "extra.py").write_text("import os")
    (bundle / "linked").symlink_to(tmp_path)
    problems = verify(bundle).problems
    assert problems == [
        "linked: it is not of this bundle",
        "model_repository/tiny/1/extra.py: it is not of this bundle",
    ]


def test_golden_answers_that_differ_are_told_with_the_figure(tmp_path):
    bundle = frozen.copy(tmp_path)
    path = bundle / "golden" / "answers.json"
    answers = msgspec.json.decode(path.read_bytes())
    answers["programs"]["predict"]["probabilities"][3][0] += 1e-3
    path.write_bytes(msgspec.json.encode(answers))
    _redigest(bundle)
    report = verify(bundle)
    assert not report.ok
    assert len(report.problems) == 1
    assert "column 'probabilities' differs by 0.001" in report.problems[0]


def _redigest(bundle: Path) -> None:
    """Let the manifest name the files as they are now."""
    raw = msgspec.json.decode((bundle / MANIFEST).read_bytes())
    for name in raw["files"]:
        content = (bundle / name).read_bytes()
        raw["files"][name] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
        }
    frozen.rewrite(bundle, files=raw["files"])


def test_code_that_is_not_even_text_is_named(tmp_path):
    bundle = frozen.copy(tmp_path)
    code = bundle / "model_repository" / "tiny" / "1" / "model.py"
    code.write_bytes(b"\xff" + code.read_bytes()[1:])
    assert any("model.py" in problem for problem in verify(bundle).problems)
