"""``automm verify`` on the frozen bundle."""

import msgspec
from click.testing import CliRunner

from automm.cli.verify import command
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
