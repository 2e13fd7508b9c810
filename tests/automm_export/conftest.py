"""One export of the tiny model for all tests that only read it."""

import pytest

from automm_export.export import ExportOptions, export
from tests.automm_export.tiny import exportable, rows


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """``(path, report)`` of a bundle; test rows were given."""
    path = tmp_path_factory.mktemp("exported") / "bundle"
    return path, export(exportable(), path, ExportOptions(check=rows(20)))
