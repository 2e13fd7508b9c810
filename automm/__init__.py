"""Train multimodal predictors, and use them: ``MultiModalPredictor``, ``load``, ``Client``.

The names are imported when they are asked for, so that the command line and the offline predictor
do not pay for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from automm.loading import load
    from automm.predictor import MultiModalPredictor
    from automm_serve.triton.aio import AsyncClient
    from automm_serve.triton.client import Client

__all__ = ["AsyncClient", "Client", "MultiModalPredictor", "load"]

_HOMES = {
    "AsyncClient": "automm_serve.triton.aio",
    "Client": "automm_serve.triton.client",
    "MultiModalPredictor": "automm.predictor",
    "load": "automm.loading",
}
"""Public name -> the module that defines it."""


def __getattr__(name: str) -> object:
    if name in _HOMES:
        # By require, as a light install has no torch: then the error says which extra brings it.
        from automm_serve.optional import require

        return getattr(require(_HOMES[name], purpose=f"automm.{name}"), name)
    if name == "__version__":
        return import_module("importlib.metadata").version("automm-edge")
    raise AttributeError(f"module 'automm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
