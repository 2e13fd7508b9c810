"""What predictors of earlier formats have otherwise, brought to what this release reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from safetensors.torch import load_file, load_model, save_file
from torch import Tensor, nn

TRAINED_WIDE = 4
"""Before this format the linear model beside the network had categories alone, and was trained."""

TEMPERATURE = 3
"""Before this format there was none."""

_OLD_WIDE = re.compile(r"wide\.(\w+)\.(?:embedding\.)?(weight|offsets)")


def bring_config(content: bytes, version: int) -> bytes:
    """Return ``config.json`` without settings that are no more."""
    if version >= TRAINED_WIDE:
        return content
    found = msgspec.json.decode(content)
    model = found.get("model") if isinstance(found, dict) else None
    wide = model.get("wide") if isinstance(model, dict) else None
    if isinstance(wide, dict):
        wide.pop("lr_mult", None)
    return msgspec.json.encode(found)


def load_weights(model: nn.Module, file: Path, version: int) -> list[str]:
    """Put the weights of a file in.

    Returns:
        Names that are missing or unknown, though a predictor of this format has them.
    """
    if version >= TRAINED_WIDE:
        missing, unknown = load_model(model, str(file), strict=False)
        return sorted({*missing, *unknown})
    with TemporaryDirectory() as folder:
        renamed = Path(folder) / file.name
        save_file(_rename(load_file(file)), renamed)
        missing, unknown = load_model(model, str(renamed), strict=False)
    # What was not there then is 0, or for a temperature 1, as it is made.
    lacking = {n for n in missing if not n.startswith("wide.") or "_categories." in n}
    if version < TEMPERATURE:
        lacking -= {"temperature"}
    return sorted({*lacking, *unknown})


def _rename(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, weight in weights.items():
        old = _OLD_WIDE.fullmatch(name)
        found[f"wide.parts.{old[1]}_categories.{old[2]}" if old else name] = weight
    return found
