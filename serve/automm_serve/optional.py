"""The one place where optional packages are imported, and the one table of who installs them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from automm_serve.errors import MissingDependencyError

EXTRAS = {
    "onnxruntime": "cpu",
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "tensorrt-rtx",
    "cuda": "tensorrt",
    "tritonclient": "client",
    "google": "client",
    "pyarrow": "parquet",
    "sklearn": "metrics",
    "scipy": "metrics",
    "torch": "train",
    "lightning": "train",
    "transformers": "train",
    "timm": "train",
    "pandas": "train",
    "safetensors": "train",
    "peft": "train",
    "onnx": "train",
    "onnxscript": "train",
    "ray": "hpo",
    "optuna": "hpo",
}
"""Package to import -> the extra of this distribution that brings it."""


def require(name: str, *, purpose: str) -> ModuleType:
    """Import an optional package, or a module of ours that stands on one, at its first use.

    Args:
        name: The import name, for example ``"tritonclient.grpc"``.
        purpose: What needs it, in the user's terms. The error message begins with it.

    Raises:
        MissingDependencyError: A package of ``EXTRAS`` is not installed. A package that is there
            but broken raises its own error: it says more than ours could.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in EXTRAS:
            raise
        raise MissingDependencyError(
            where=purpose,
            what=f"the package {package!r} is not installed",
            mend="Install it with",
            command=f"pip install 'automm-edge[{EXTRAS[package]}]'",
        ) from error
