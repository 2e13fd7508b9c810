"""Lets timm be imported where torchvision's own operators cannot be loaded.

timm imports torchvision, and the packaged torchvision is built for CUDA: beside a CPU torch its
import ends in ``operator torchvision::nms does not exist``. Nothing here uses those operators.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch

_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_keep: list[Any] = []  # the declaration lives as long as this object does


def declare_missing_operators() -> None:
    """Declare ``torchvision::nms`` and ``qnms``, only where torchvision cannot do so itself."""
    if _keep or "torchvision" in sys.modules or _loads_itself():
        return
    make: Any = torch.library.Library  # untyped in torch
    library = make("torchvision", "FRAGMENT")
    for operator in _OPERATORS:
        library.define(operator + _SIGNATURE)
    _keep.append(library)


def _loads_itself() -> bool:
    """Whether torchvision is absent, or its compiled part fits this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    compiled = sorted(Path(spec.origin).parent.glob("_C*.so"))
    operators: Any = torch.ops
    try:
        for file in compiled:
            operators.load_library(file)
    except OSError:
        return False
    return all(hasattr(operators.torchvision, name) for name in _OPERATORS)
