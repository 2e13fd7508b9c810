"""``report.html``: what a fit understood, learnt and got wrong, in one file without any other.

It opens without a network: style and pictures are inside, and no script is. Everything that comes
from data goes through ``markup``, which escapes it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automm.report.html.evidence import Evidence
from automm.report.html.page import Facts, build_page
from automm.report.html.paths import FILE

__all__ = ["FILE", "Evidence", "Facts", "write_report"]


def write_report(path: Path, facts: Facts, evidence: Evidence, settings: Mapping[str, Any]) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: Of the file.
        facts: What training said.
        evidence: Rows with their truth and answers.
        settings: Of the run: the configuration as plain data.

    Returns:
        The path.
    """
    page = build_page(facts, evidence, settings).encode("utf-8", "replace")
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.new")
    scratch.write_bytes(page)
    scratch.replace(path)
    return path
