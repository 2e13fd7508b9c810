"""Where a predictor's page lies."""

from __future__ import annotations

from pathlib import Path

from automm.loading import holds
from automm_serve.errors import ConfigError

FILE = "report.html"
"""Name of the page in a predictor's folder."""


def find_report(folder: Path) -> Path:
    """Return the page in a predictor's folder.

    Raises:
        ConfigError: There is none.
        BundleError: The folder is no predictor.
    """
    path = folder / FILE
    if holds(folder) == "predictor" and path.is_file():
        return path
    raise ConfigError(
        where=f"predictor {folder}",
        what=f"it has no {FILE}",
        mend="It was written by an earlier release: make a page from labelled rows with",
        command=f"automm report {folder} DATA --out {FILE}",
    )
