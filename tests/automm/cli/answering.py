"""The frozen bundle, its rows, and a runner of commands, for the tests of the command line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec
from click.testing import CliRunner, Result

from automm.cli.main import main

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "v1"
ROWS = BUNDLE / "golden" / "rows.jsonl"


def run(*words: object) -> Result:
    """Run ``automm`` with these words; a bug keeps its traceback."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def read_csv(text: str) -> list[dict[str, str]]:
    """Return the records of a CSV text."""
    return list(csv.DictReader(io.StringIO(text)))


def golden_rows() -> list[dict[str, object]]:
    """Return the records of the golden rows."""
    return [msgspec.json.decode(line) for line in ROWS.read_bytes().splitlines()]


def write_rows(path: Path, records: list[dict[str, object]]) -> Path:
    """Write records as JSON lines."""
    path.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    return path
