"""Each precision that is asked for: written and judged, tower by tower."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from automm_export.exportable import Exportable, ExportOptions
from automm_serve.manifest import GraphFiles
from automm_serve.precisions import PrecisionFigures


def make_precisions(
    folder: Path, model: Exportable, graphs: Mapping[str, GraphFiles], options: ExportOptions
) -> tuple[dict[str, GraphFiles], dict[str, PrecisionFigures]]:
    """Write the files of each precision beside those of fp32."""
    raise NotImplementedError
