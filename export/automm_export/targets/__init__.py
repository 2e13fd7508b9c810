"""Where a bundle can be served: one entry, in one file, each."""

from __future__ import annotations

from importlib import import_module

from automm_export.targets.target import Target
from automm_serve.errors import unknown_name

__all__ = ["CPU_TARGETS", "DEFAULT", "TARGETS", "Target", "find_target"]

TARGETS = {
    "cpu_ort": "automm_export.targets.cpu_ort",
    "cpu": "automm_export.targets.cpu",
    "gpu_ort": "automm_export.targets.gpu_ort",
    "gpu_trt": "automm_export.targets.gpu_trt",
    "gpu_rtx": "automm_export.targets.gpu_rtx",
}
"""Name -> the module whose ``TARGET`` it is."""

CPU_TARGETS = ("cpu_ort", "cpu")
"""Those that a bundle has without being asked."""

DEFAULT = "cpu_ort"
"""Is ``config.pbtxt`` itself, so that a stock container loads the folder as it is."""


def find_target(name: str) -> Target:
    """Return a target by its name.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in TARGETS:
        raise unknown_name("target", name, TARGETS)
    target: Target = import_module(TARGETS[name]).TARGET
    return target
