"""``automm verify`` on the frozen bundle."""

import msgspec
from click.testing import CliRunner
from msgspec.structs import replace

from automm.cli.verify import command
from automm_serve.verify_release import ReleaseReport
from tests.automm_serve import frozen


def test_the_command_prints_and_exits_as_the_report_says(tmp_path):
    sound = CliRunner().invoke(command, [str(frozen.V1)])
    assert sound.exit_code == 0
    assert "all 14 files are as they were exported" in sound.output
    bundle = frozen.copy(tmp_path)
    (bundle / "golden" / "rows.jsonl").write_bytes(b"")
    damaged = CliRunner().invoke(command, [str(bundle), "--json"])
    assert damaged.exit_code == 1
    assert "golden/rows.jsonl" in msgspec.json.decode(damaged.stdout)["problems"][0]


def test_python_without_a_target_is_asked_wrongly():
    wrong = CliRunner().invoke(command, [str(frozen.V1), "--python", "python3"])
    assert wrong.exit_code == 2
    assert "pass both" in wrong.output


def test_the_answers_of_a_release_are_printed_and_its_exit_code_is_theirs(monkeypatch):
    from automm_serve import verify_release

    ok = ReleaseReport(True, "triton:25.10", [], {"onnxruntime": "1.23.1"}, (), ("a note",))
    monkeypatch.setattr(verify_release, "verify_release", lambda *_, **__: ok)
    sound = CliRunner().invoke(command, [str(frozen.V1), "--target", "triton:25.10"])
    assert sound.exit_code == 0
    assert "under the ONNX Runtime of triton:25.10" in sound.stdout
    assert "note: a note" in sound.stderr
    bad = replace(ok, ok=False, problems=["program 'predict' differs"])
    monkeypatch.setattr(verify_release, "verify_release", lambda *_, **__: bad)
    for flags in ([], ["--json"]):
        wrong = CliRunner().invoke(command, [str(frozen.V1), "--target", "triton:25.10", *flags])
        assert wrong.exit_code == 1
        assert "program 'predict' differs" in wrong.stdout
    assert msgspec.json.decode(wrong.stdout)["versions"] == {"onnxruntime": "1.23.1"}


def test_a_damaged_bundle_is_not_even_asked_under_a_release(tmp_path):
    bundle = frozen.copy(tmp_path)
    (bundle / "golden" / "rows.jsonl").write_bytes(b"")
    damaged = CliRunner().invoke(command, [str(bundle), "--target", "triton:25.10", "--json"])
    assert damaged.exit_code == 1
    assert "golden/rows.jsonl" in msgspec.json.decode(damaged.stdout)["problems"][0]
