"""mixup and cutmix: pairs of rows whose pictures and classes are mixed.

Zhang et al., 2018, arXiv:1710.09412; Yun et al., 2019, arXiv:1905.04899.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional

from automm.config.data import MixupOptions
from automm.tasks.base import Batch
from automm_serve.errors import ConfigError
from automm_serve.processors import AnyProcessor, ImageProcessor


class Mixing(NamedTuple):
    """How one row is mixed with its partner, the row as far from the batch's end.

    Attributes:
        share: Of the row itself, 0 to 1.
        piece: Top, bottom, left and right of what the partner gives, as shares of the sides;
            None where the pictures are blended.
    """

    share: float
    piece: tuple[float, float, float, float] | None = None


def check_mixup(options: MixupOptions, processors: Sequence[AnyProcessor], classes: int) -> None:
    """Refuse to mix where there is nothing to mix.

    Args:
        options: Of the run.
        processors: Of the run.
        classes: Number of classes; 0 where the label holds numbers.

    Raises:
        ConfigError: There are no pictures, or no classes, or no way of mixing.
    """
    if not options.turn_on:
        return
    what = None
    if not any(isinstance(processor, ImageProcessor) for processor in processors):
        what = "there is no column of pictures to mix"
    elif not classes:
        what = "the label holds numbers, and only classes are mixed"
    elif not (options.mixup_alpha or options.cutmix_alpha or options.cutmix_minmax):
        what = "neither mixup nor cutmix has an alpha above 0"
    elif options.cutmix_minmax and options.cutmix_minmax[0] > options.cutmix_minmax[1]:
        what = f"cutmix_minmax {options.cutmix_minmax} falls"
    if what:
        raise ConfigError(
            where="hyperparameter 'data.mixup'", what=what, mend="Leave data.mixup.turn_on out"
        )


def mix(
    batch: Batch,
    processors: Sequence[AnyProcessor],
    classes: int,
    options: MixupOptions,
    chances: Sequence[Generator],
) -> Batch:
    """Return the batch with mixed pictures, as float32, and ``soft`` targets.

    What cannot be mixed (texts, numbers, categories) is of the row with the larger share. What a
    teacher said is mixed as the classes are: its logits are linear in its features, so that the
    two go on belonging together.

    Args:
        batch: Whose targets have ``classes``.
        processors: Of the run.
        classes: Number of classes.
        options: How.
        chances: One generator a row; the first row's decides for a whole batch.
    """
    rows = len(batch.targets["classes"])
    mixings = draw(options, chances)
    partner = torch.arange(rows - 1, -1, -1)
    shares = torch.tensor([mixing.share for mixing in mixings])
    owner = torch.where(shares >= 0.5, torch.arange(rows), partner)
    pictures = {p.name for p in processors if isinstance(p, ImageProcessor)}
    tensors = {}
    for name, tensor in batch.tensors.items():
        stem, _, last = name.rpartition("_")
        if stem not in pictures:
            tensors[name] = tensor[owner]
        elif last == "pixels":
            tensors[name] = _mix_pixels(tensor.float(), partner, mixings)
        else:  # a slot is there where either row has a picture
            tensors[name] = torch.maximum(tensor, tensor[partner])
    spread = options.label_smoothing / classes
    plain = functional.one_hot(batch.targets["classes"], classes).float()
    smooth = plain * (1 - options.label_smoothing) + spread
    weights = shares.float().unsqueeze(1)
    soft = weights * smooth + (1 - weights) * smooth[partner]
    teacher = {
        name: weights * said + (1 - weights) * said[partner] for name, said in batch.teacher.items()
    }
    return Batch(tensors, {**batch.targets, "soft": soft}, teacher)


def draw(options: MixupOptions, chances: Sequence[Generator]) -> list[Mixing]:
    """Return how each row is mixed."""
    rows = len(chances)
    if options.mode == "batch":
        return [_draw(options, chances[0])] * rows
    if options.mode == "elem":
        return [_draw(options, generator) for generator in chances]
    half = [_draw(options, generator) for generator in chances[: rows // 2]]
    return [*half, *([Mixing(1.0)] if rows % 2 else []), *reversed(half)]


def _draw(options: MixupOptions, generator: Generator) -> Mixing:
    cuts = bool(options.cutmix_alpha or options.cutmix_minmax)
    if generator.random() >= options.prob:
        return Mixing(1.0)
    if cuts and (not options.mixup_alpha or generator.random() < options.switch_prob):
        return _draw_piece(options, generator)
    return Mixing(float(generator.beta(options.mixup_alpha, options.mixup_alpha)))


def _draw_piece(options: MixupOptions, generator: Generator) -> Mixing:
    """A piece whose area is the partner's share, cut off where it leaves the picture."""
    if options.cutmix_minmax:
        tall, wide = generator.uniform(*options.cutmix_minmax, 2)
        top, left = generator.uniform(0, 1 - tall), generator.uniform(0, 1 - wide)
        bottom, right = top + tall, left + wide
    else:
        side = math.sqrt(1 - generator.beta(options.cutmix_alpha, options.cutmix_alpha))
        y, x = generator.random(2)
        top, bottom = max(0.0, y - side / 2), min(1.0, y + side / 2)
        left, right = max(0.0, x - side / 2), min(1.0, x + side / 2)
    return Mixing(1 - (bottom - top) * (right - left), (top, bottom, left, right))


def _mix_pixels(pixels: Tensor, partner: Tensor, mixings: Sequence[Mixing]) -> Tensor:
    """Mix float32 (rows, images, height, width, 3)."""
    others = pixels[partner]
    mixed = pixels.clone()
    height, width = pixels.shape[2:4]
    for row, (share, piece) in enumerate(mixings):
        if piece is None:
            mixed[row] = share * pixels[row] + (1 - share) * others[row]
            continue
        top, bottom = (round(at * height) for at in piece[:2])
        left, right = (round(at * width) for at in piece[2:])
        mixed[row, :, top:bottom, left:right] = others[row, :, top:bottom, left:right]
    return mixed
