"""The image tower of a CLIP checkpoint over every picture of a row; a column's mean over them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from automm.config.schema import ClipImageOptions
from automm.models.encoders.huggingface import blocks_of, describe, load, make_model
from automm.models.encoders.pictures import PictureEncoder
from automm_serve.errors import ConfigError
from automm_serve.processors.image import ImageProcessor
from automm_serve.schema import Column
from automm_serve.tensors import Table

from transformers import (  # isort: skip  # after huggingface, which makes it importable
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)
from transformers.utils.hub import cached_file  # isort: skip

KINDS = ("image",)
OPTIONS = ClipImageOptions

_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the pictures that CLIP was trained on
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def fit(
    name: str, table: Table, columns: Sequence[Column], options: ClipImageOptions
) -> ImageProcessor:
    """Count pictures; the size is the one asked for, else the checkpoint's own."""
    config = load(CLIPVisionConfig.from_pretrained, options.checkpoint_name)
    size = options.image_size or config.image_size
    return ImageProcessor.fit(
        name,
        table,
        [column.name for column in columns],
        size,
        size,
        max_images=options.max_image_num_per_column,
    )


def build(processor: ImageProcessor, options: ClipImageOptions) -> ClipImage:
    """Build the encoder: pretrained, or the architecture alone."""
    name = options.checkpoint_name
    config = load(CLIPVisionConfig.from_pretrained, name)
    if not hasattr(config, "image_mean"):  # a saved predictor's has it
        config.image_mean, config.image_std = _statistics(name)
    tower = make_model(CLIPVisionModelWithProjection, config, name, pretrained=options.pretrained)
    if processor.height != config.image_size:
        _resize_places(tower, processor.height)
    return ClipImage(processor, tower)


class ClipImage(PictureEncoder):
    """Tower, projection, unit length."""

    def __init__(self, processor: ImageProcessor, tower: CLIPVisionModelWithProjection) -> None:
        config: Any = tower.config
        super().__init__(processor, config.image_mean, config.image_std)
        self.model = tower
        self.width = tower.visual_projection.out_features
        self.out_dim = self.width * len(self.counts)
        self.blocks = blocks_of(tower, config.num_hidden_layers)
        self.backbone = describe(config)

    def encode(self, pictures: Tensor) -> Tensor:
        """Map normalised pictures float32 (n, 3, height, width) to (n, ``width``) of length 1."""
        return functional.normalize(self.model(pixel_values=pictures).image_embeds)


def _statistics(name: str) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel, of the checkpoint's preprocessor; CLIP's where none."""
    for file, section in (
        ("preprocessor_config.json", None),
        ("processor_config.json", "image_processor"),
    ):
        found = load(_Reader(file), name)
        settings = found.get(section, {}) if section else found
        if "image_mean" in settings and "image_std" in settings:
            return list(settings["image_mean"]), list(settings["image_std"])
    return list(_MEAN), list(_DEVIATION)


class _Reader:
    """Reads a file of a checkpoint; what is not there is empty."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __call__(self, name: str | Path, *, local_files_only: bool) -> dict[str, Any]:
        path = cached_file(
            name,
            self.file,
            local_files_only=local_files_only,
            _raise_exceptions_for_missing_entries=False,
        )
        if path is None and local_files_only and isinstance(name, str):
            raise OSError(f"{self.file} is not in the hub's cache")  # so that the hub is asked
        return msgspec.json.decode(Path(path).read_bytes(), type=dict[str, Any]) if path else {}


def _resize_places(tower: CLIPVisionModelWithProjection, size: int) -> None:
    """Interpolate the vectors of the patches' places, for pictures of another size."""
    places: Any = tower.vision_model.embeddings
    if size % places.patch_size:
        raise ConfigError(
            where="hyperparameter 'model.clip_image.image_size'",
            what=f"{size} pixels are no multiple of patches of {places.patch_size}",
            mend=f"Take {max(1, size // places.patch_size) * places.patch_size}",
        )
    with torch.no_grad():
        # A number of patches that no size has, so that it does not give back what there is.
        nothing = torch.zeros(1, 1, places.embed_dim)
        weight = places.interpolate_pos_encoding(nothing, size, size)[0]
    places.position_embedding = nn.Embedding(len(weight), places.embed_dim, _weight=weight.clone())
    places.register_buffer(
        "position_ids", torch.arange(len(weight)).expand((1, -1)), persistent=False
    )
    places.image_size = tower.config.image_size = size
    places.num_patches, places.num_positions = len(weight) - 1, len(weight)
