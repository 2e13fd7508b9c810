"""Write anew what is generated and checked in: ``triton_repo/`` and the schemas of the formats.

    python -m scripts.regen_formats          # from the root of the repository; `make regen`

A test writes the same into a temporary folder and compares, so that a change of the exporter is
seen as a change of its output.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import msgspec

from automm_serve.manifest import REPOSITORY, Manifest
from automm_serve.pipeline import Pipeline
from tests.automm_export.tiny import export_tiny

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = {"bundle.schema.json": Manifest, "pipeline.schema.json": Pipeline}


def regenerate(root: Path) -> None:
    """Write everything below a root, in place of what is there."""
    repository = root / "triton_repo"
    shutil.rmtree(repository, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = export_tiny(Path(scratch) / "bundle")
        shutil.copytree(bundle / REPOSITORY, repository)
    (root / "docs").mkdir(exist_ok=True)
    for name, kind in SCHEMAS.items():
        schema = msgspec.json.encode(_structure(msgspec.json.schema(kind)), order="sorted")
        (root / "docs" / name).write_bytes(msgspec.json.format(schema, indent=2) + b"\n")


def _structure(schema: object) -> object:
    """The schema without descriptions: the wording of a docstring is no part of a format."""
    if isinstance(schema, list):
        return [_structure(part) for part in schema]
    if isinstance(schema, dict):
        return {key: _structure(value) for key, value in schema.items() if key != "description"}
    return schema


if __name__ == "__main__":
    regenerate(ROOT)
    sys.stdout.write("triton_repo/ and docs/*.schema.json are written\n")
