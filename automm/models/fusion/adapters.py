"""Brings the features of several encoders to one width and one scale."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from automm.config.schema import FusionOptions


def common_width(widths: Sequence[int], options: FusionOptions) -> int:
    """Return the width to which features of these widths are brought."""
    wanted = options.adapt_in_features
    return wanted if isinstance(wanted, int) else {"max": max, "min": min}[wanted](widths)


def build_adapters(widths: Sequence[int], common: int) -> nn.ModuleList:
    """Build one adapter for each encoder."""
    return nn.ModuleList(
        # The towers' features differ in scale by orders; a tower must not win by its units.
        nn.Sequential(nn.LayerNorm(width), nn.Linear(width, common))
        for width in widths
    )
