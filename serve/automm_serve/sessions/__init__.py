"""Sessions run one graph each, whatever the library behind them."""

from __future__ import annotations

from typing import Protocol

from automm_serve.tensors import Tensors, TensorSpec

SESSIONS = {
    "onnxruntime": "automm_serve.sessions.onnxruntime",
    "bls": "automm_serve.sessions.bls",
    "torch": "automm_export.session",
}
"""Name -> module; imported when first asked for, because each stands on another library."""


class Session(Protocol):
    """What a ``LocalPredictor`` asks of a graph.

    Attributes:
        inputs: What ``run`` must be fed.
        outputs: What ``run`` gives.
    """

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...  # noqa: D102
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...  # noqa: D102

    def run(self, feed: Tensors) -> Tensors:
        """Run the graph once over whole rows."""
        ...

    def close(self) -> None:
        """Give back what the session holds; it cannot run afterwards."""
        ...
