"""What a target is: a place where a bundle is served, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """An entry of ``TARGETS``.

    Attributes:
        name: As Triton's ``--model-config-name`` and ``automm serve --target`` take it.
        max_batch: Most rows of one request.
        instances: Processes of NAME that answer at the same time.
        in_process: NAME runs the graphs itself, so that it can be warmed up with rows while the
            server starts; a model that calls others cannot.
        graph_platform: Triton's platform of the graphs; empty where they are files only.
        graph_parameters: Of the graphs' configuration.
    """

    name: str
    max_batch: int = 32
    instances: int = 1
    in_process: bool = False
    graph_platform: str = ""
    graph_parameters: tuple[tuple[str, str], ...] = ()

    @property
    def graph_backend(self) -> str:
        """Triton's backend of the platform: ``onnxruntime_onnx`` is run by ``onnxruntime``."""
        return self.graph_platform.partition("_")[0]
