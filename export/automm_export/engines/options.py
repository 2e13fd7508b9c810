"""How engines are built: what ``automm export --trt`` and ``automm compile`` are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct

BuilderChoice: TypeAlias = Literal["auto", "tensorrt", "tensorrt_rtx"]

BUILDERS: tuple[BuilderChoice, ...] = ("auto", "tensorrt", "tensorrt_rtx")

CAPABILITIES = ("8.6", "8.9", "12.0")
"""Built for ahead of time where none is named: RTX cards of the 30, 40 and 50 series."""

BEST_BATCH = 8
"""Rows that an engine is tuned for where nothing is said, or as many as it takes."""


class EngineOptions(Struct, frozen=True, kw_only=True):
    """How to build engines.

    Attributes:
        builder: ``auto`` takes TensorRT where it and a GPU are there, else TensorRT for RTX.
        capabilities: Compute capabilities to build for ahead of time; TensorRT proper builds for
            the GPU of this machine alone.
        precisions: To build; those of the bundle that engines know where empty.
        min_batch: Fewest rows of one run.
        opt_batch: Rows that the engine is tuned for; ``BEST_BATCH``, or ``max_batch`` where that
            is less, where None.
        max_batch: Most rows of one run.
        max_length: Most tokens of a text; the pipeline's limit where None.
        profiles: Optimisation profiles; texts of like length share one, two at most.
        workspace_mb: Scratch memory of the builder; its own limit where None.
        timing_cache: File of TensorRT proper; under ``AUTOMM_CACHE`` where None.
        target: Release that will read the engines, such as ``triton:26.04``; a builder of another
            version is refused.
    """

    builder: BuilderChoice = "auto"
    capabilities: tuple[str, ...] = CAPABILITIES
    precisions: tuple[str, ...] = ()
    min_batch: int = 1
    opt_batch: int | None = None
    max_batch: int = 32
    max_length: int | None = None
    profiles: int = 1
    workspace_mb: int | None = None
    timing_cache: Path | None = None
    target: str = ""

    @property
    def best_batch(self) -> int:
        """Rows that the engine is tuned for."""
        return min(BEST_BATCH, self.max_batch) if self.opt_batch is None else self.opt_batch
