"""Fusions join the features of several encoders. To add one: its file here, and its entry."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from torch import nn

from automm.config.schema import Config, FusionOptions

FUSIONS = {
    "fusion_mlp": "automm.models.fusion.mlp",
    "fusion_transformer": "automm.models.fusion.transformer",
}
"""Name -> module with ``build(widths, options)``; its settings are ``model.<name>.*``."""


def chosen_fusion(config: Config) -> str:
    """Return the first fusion that ``model.names`` has; an MLP where it has none."""
    return next((name for name in config.model.names if name in FUSIONS), "fusion_mlp")


def fusion_options(config: Config) -> FusionOptions:
    """Return the settings of the chosen fusion; those of heads stand there too."""
    options: FusionOptions = getattr(config.model, chosen_fusion(config))
    return options


def build_fusion(widths: Sequence[int], config: Config) -> nn.Module:
    """Build the chosen fusion of features of these widths; it has an ``out_dim``."""
    build = import_module(FUSIONS[chosen_fusion(config)]).build
    module: nn.Module = build(widths, fusion_options(config))
    return module
