"""Fusions join the features of several encoders. To add one: its file here, and its entry."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from torch import nn

from automm.config.schema import Config

FUSIONS = {"fusion_mlp": "automm.models.fusion.mlp"}
"""Name -> module with ``build(widths, config)``."""


def build_fusion(name: str, widths: Sequence[int], config: Config) -> nn.Module:
    """Build the fusion of features of these widths; it has an ``out_dim``."""
    module: nn.Module = import_module(FUSIONS[name]).build(widths, config)
    return module
