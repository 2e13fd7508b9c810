"""What encoders of pictures have in common: normalising, and the mean over a column's pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from automm.models.encoders.base import Encoder
from automm_serve.processors.image import ImageProcessor


class PictureEncoder(Encoder):
    """Normalise, encode each picture, average a column's, join the columns.

    Args:
        processor: Whose tensors it reads.
        mean: Of each channel, in shares of full brightness.
        deviation: Of each channel, in the same unit.

    Attributes:
        mixes_pictures: Average a column's pictures before they are encoded, not their features.
    """

    mean: Tensor
    deviation: Tensor
    width: int
    mixes_pictures = False

    def __init__(
        self, processor: ImageProcessor, mean: Sequence[float], deviation: Sequence[float]
    ) -> None:
        super().__init__()
        self.prefix = processor.name
        self.counts = [column.images for column in processor.pictures]
        # In units of a byte, so that the graph needs no division by 255.
        channels = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(mean).reshape(channels) * 255)
        self.register_buffer("deviation", torch.tensor(deviation).reshape(channels) * 255)
        self.scale = _Scale()

    def encode(self, pictures: Tensor) -> Tensor:
        """Map normalised pictures float32 (n, 3, height, width) to (n, ``width``)."""
        raise NotImplementedError

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Map pixels uint8 and flags to ``features`` float32 (batch, columns * width).

        A column without a picture in a row has features of zero there, whatever its pixels.
        """
        valid = tensors[f"{self.prefix}_valid"].unsqueeze(-1)
        pixels = tensors[f"{self.prefix}_pixels"].float()  # first: TensorRT permutes no uint8
        pictures = self.scale(pixels.flatten(0, 1).permute(0, 3, 1, 2), self.mean, self.deviation)
        if self.mixes_pictures:
            shape = (-1, sum(self.counts), *pictures.shape[1:])
            mixed = self._average(pictures.reshape(shape), valid[..., None, None])
            there = torch.cat([v.amax(dim=1, keepdim=True) for v in self._split(valid)], dim=1)
            encoded = self.encode(torch.stack(mixed, dim=1).flatten(0, 1))
            return {"features": (encoded.reshape(-1, len(mixed), self.width) * there).flatten(1)}
        encoded = self.encode(pictures).reshape(-1, sum(self.counts), self.width)
        return {"features": torch.cat(self._average(encoded, valid), dim=1)}

    def _split(self, values: Tensor) -> tuple[Tensor, ...]:
        return torch.split(values, self.counts, dim=1)

    def _average(self, values: Tensor, valid: Tensor) -> list[Tensor]:
        """The mean of each column over its pictures that are there; 0 where none is."""
        return [
            part.sum(dim=1) / flags.sum(dim=1).clamp(min=1)
            for part, flags in zip(self._split(values * valid), self._split(valid), strict=True)
        ]


class _Scale(nn.Module):
    """Bytes of a picture -> what the backbone was trained on."""

    keep_fp32 = True  # eleven bits for a byte less a mean are few

    def forward(self, pixels: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        scaled: Tensor = (pixels - mean) / deviation
        return scaled
