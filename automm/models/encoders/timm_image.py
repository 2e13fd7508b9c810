"""An image backbone of timm over every picture of a row; a column's mean over those there are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from automm.config.schema import TimmImageOptions
from automm.models.encoders.checkpoints import find_local, unreachable
from automm.models.encoders.lite0 import rename
from automm.models.encoders.pictures import PictureEncoder
from automm.models.encoders.torchvision_stub import declare_missing_operators
from automm_serve.errors import ConfigError, near_name
from automm_serve.processors.image import ImageProcessor
from automm_serve.schema import Column
from automm_serve.tensors import Table

declare_missing_operators()  # before the import below, which fails without them on a CPU torch

import timm  # noqa: E402

KINDS = ("image",)
OPTIONS = TimmImageOptions

_BODY = re.compile(r"blocks|stages|layers|layer\d+|features")
_DEFAULT_SIZE = (3, 224, 224)


class Source(NamedTuple):
    """Where a backbone comes from: timm's name for it, its settings, a file of packaged weights."""

    model: str
    settings: dict[str, Any]
    weights: Path | None


def fit(
    name: str, table: Table, columns: Sequence[Column], options: TimmImageOptions
) -> ImageProcessor:
    """Count pictures; the size is the one asked for, else the checkpoint's own."""
    _, height, width = _source(options.checkpoint_name).settings.get("input_size", _DEFAULT_SIZE)
    return ImageProcessor.fit(
        name,
        table,
        [column.name for column in columns],
        options.image_size or height,
        options.image_size or width,
        max_images=options.max_image_num_per_column,
    )


def build(processor: ImageProcessor, options: TimmImageOptions) -> TimmImage:
    """Build the encoder: pretrained, or the architecture alone."""
    source = _source(options.checkpoint_name)
    size = (processor.height, processor.width)
    # Transformers fix the number of their patches when they are made; others take any size.
    extra: dict[str, Any] = {"img_size": size} if source.settings.get("fixed_input_size") else {}
    from_timm = options.pretrained and source.weights is None
    try:
        model = timm.create_model(source.model, pretrained=from_timm, num_classes=0, **extra)
    except (OSError, RuntimeError, ValueError) as error:
        if find_local(options.checkpoint_name) is None and from_timm:
            raise unreachable(options.checkpoint_name) from error
        raise ConfigError(
            where=f"checkpoint {options.checkpoint_name!r}",
            what=f"timm cannot load it: {str(error).splitlines()[0]}",
            mend="Pass a folder with timm's config.json and model.safetensors",
        ) from error
    if options.pretrained and source.weights is not None:
        state = torch.load(source.weights, map_location="cpu", weights_only=True)
        model.load_state_dict(rename(state))
    encoder = TimmImage(processor, model, freeze_norms=options.freeze_batch_norm)
    encoder.mixes_pictures = options.mix_choice == "all_images"
    return encoder


class TimmImage(PictureEncoder):
    """A backbone of timm over every picture."""

    def __init__(self, processor: ImageProcessor, model: nn.Module, *, freeze_norms: bool) -> None:
        settings: dict[str, Any] = dict(model.pretrained_cfg)  # type: ignore[arg-type]  # timm's
        mean, deviation = settings.get("mean", (0.5,) * 3), settings.get("std", (0.5,) * 3)
        super().__init__(processor, mean, deviation)
        self.freeze_norms = freeze_norms
        self.model = model
        self.width = _measure_width(model, processor.height, processor.width)
        self.out_dim = self.width * len(self.counts)
        self.blocks = _blocks(model)
        self.backbone = _describe(model, settings)

    def freeze(self, count: int) -> None:
        """Stop training the first blocks; class token and positions belong to the first."""
        super().freeze(count)
        if count:
            for parameter in self.model.parameters(recurse=False):
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; batch norms keep to the checkpoint's statistics where that is asked."""
        super().train(mode)
        if self.freeze_norms:
            for module in self.model.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def encode(self, pictures: Tensor) -> Tensor:
        """Map normalised pictures float32 (n, 3, height, width) to (n, ``width``)."""
        encoded: Tensor = self.model(pictures)
        return encoded


def _source(name: str) -> Source:
    local = find_local(name)
    if local is not None and local.is_dir():
        file = local / "config.json"
        if not file.is_file():
            raise ConfigError(
                where=f"checkpoint {name!r}",
                what="the folder has no config.json of timm",
                mend="Pass a folder with timm's config.json and model.safetensors",
            )
        try:
            content = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(
                where=f"checkpoint {name!r}",
                what=f"its config.json is damaged: {error}",
                mend="Pass a folder with timm's config.json and model.safetensors",
            ) from error
        # timm takes what lies beside for the settings where there is no section for them.
        return Source(f"local-dir:{local}", content.get("pretrained_cfg", content), None)
    known = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    if known is None or not timm.is_model(name):
        near = near_name(name, timm.list_models() + timm.list_pretrained())
        raise ConfigError(
            where=f"checkpoint {name!r}",
            what="timm has no such model" + (f", but it has {near!r}" if near else ""),
            mend="Pass a name of timm, or a folder with a config.json",
        )
    return Source(name, asdict(known), local)


def _measure_width(model: nn.Module, height: int, width: int) -> int:
    """Width of the features, asked of the model: timm's attributes for it differ by family."""
    model.eval()
    with torch.no_grad():
        return int(model(torch.zeros(1, 3, height, width)).shape[1])


def _blocks(model: nn.Module) -> list[nn.Module]:
    """What comes before the stages, each of their blocks, what comes after."""
    before, after = nn.ModuleList(), nn.ModuleList()
    body: list[nn.Module] = []
    for name, child in model.named_children():
        if _BODY.fullmatch(name):
            body.extend(child.children())
        else:
            (after if body else before).append(child)
    return [part for part in (before, *body, after) if list(part.parameters())] or [model]


def _describe(model: nn.Module, settings: dict[str, Any]) -> dict[str, Any]:
    """What timm's ``local-dir`` needs to make the architecture anew."""
    kept = ("input_size", "fixed_input_size", "mean", "std", "interpolation", "crop_pct")
    arguments = getattr(model, "_model_args", {})
    return {
        "architecture": settings["architecture"],
        "num_features": model.num_features,
        "model_args": {k: v for k, v in arguments.items() if k not in ("num_classes", "img_size")},
        "pretrained_cfg": {key: settings[key] for key in kept if key in settings},
    }
