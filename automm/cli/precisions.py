"""What the precisions of a bundle cost, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from automm.cli.console import print_table, remark

if TYPE_CHECKING:
    from automm_serve.precisions import PrecisionFigures

OPTIMISER = "graph optimisation: none beyond the exporter's own; further passes gained nothing"
"""docs/decisions/0025."""


def print_precisions(
    figures: Mapping[str, PrecisionFigures], sizes_bytes: Mapping[str, int]
) -> None:
    """Print each precision beside fp32, what stayed in fp32 and why, and what must be known."""
    remark(OPTIMISER)
    if not figures:
        return
    print_table(
        "precisions, measured beside fp32",
        ("file", "bytes", "metric", "fp32", "value", "lost", "95 % interval", "differs"),
        [
            (
                key,
                f"{_size(key, sizes_bytes):,}",
                f"{one.metric}, {one.rows} rows",
                f"{one.fp32:.4g}",
                f"{one.value:.4g}",
                f"{one.drop:+.2f}",
                f"{one.drop_low:+.2f} to {one.drop_high:+.2f}",
                f"{one.difference:.1e}",
            )
            for key, one in figures.items()
        ],
    )
    for key, one in figures.items():
        towers = ", ".join(f"{tower} {precision}" for tower, precision in one.towers.items())
        remark(f"{key}: {towers}; judged on {one.judged_on}")
        for tower, why in one.reasons.items():
            remark(f"note: {key}: {tower} stays in fp32: {why}")
        for note in one.notes:
            remark(f"note: {key}: {note}")


def _size(key: str, sizes_bytes: Mapping[str, int]) -> int:
    """Of the files of all graphs, and of weights that lie beside them."""
    name = f"model.{key}.onnx"
    return sum(
        size
        for path, size in sizes_bytes.items()
        if path.rpartition("/")[2] in (name, f"{name}.data")
    )
