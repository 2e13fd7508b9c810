"""Pictures of training rows changed at random, as uint8, by Pillow: labels stay what they are.

A transform takes a picture, a generator and the numbers that stand behind its name in brackets,
``randaug(2, 9)``. To add one: its function here, and its entry in ``TRANSFORMS``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from automm_serve.errors import ConfigError, near_name
from automm_serve.threads import thread_budget

Picture: TypeAlias = Image.Image
Transform: TypeAlias = Callable[[Picture, Generator], Picture]

STRENGTHS = 31
"""Strengths from nothing to the most, of which TrivialAugment draws one."""

FITTED = ("resize_shorter_side", "center_crop")
"""What a processor does to every picture, in training and in serving: nothing is left to do."""

REFUSED = {
    name: "a served picture is fitted by resize_shorter_side and center_crop, and a training "
    "picture must have the same proportions"
    for name in ("resize_to_square", "resize_gt_to_square")
}

_STEPS = re.compile(r"(\w+)(?:\(([\d\s.,]*)\))?")
_BILINEAR = Image.Resampling.BILINEAR


def read_transforms(where: str, names: Iterable[str]) -> tuple[Transform, ...]:
    """Return the transforms of these names; none for those that a processor does.

    Args:
        where: Key of the setting, for the message.
        names: Of ``TRANSFORMS`` or ``FITTED``, some with numbers: ``color_jitter(0.2, 0.2, 0)``.

    Raises:
        ConfigError: One is unknown, or does not go together with what is served.
    """
    found: list[Transform] = []
    for name in names:
        step = _STEPS.fullmatch(name.strip())
        head = step.group(1) if step else name
        if head in FITTED:
            continue
        if step is None or head not in TRANSFORMS:
            raise _refused(where, name, head)
        numbers = [float(part) for part in (step.group(2) or "").split(",") if part.strip()]
        try:
            found.append(partial(_apply, TRANSFORMS[head](*numbers)))
        except (TypeError, ValueError):
            raise _refused(where, name, head) from None
    return tuple(found)


def augment_pictures(
    pixels: NDArray[np.uint8],
    valid: NDArray[np.float32],
    transforms: Sequence[Transform],
    chances: Sequence[Generator],
) -> None:
    """Change pictures in place, each in its own way.

    Args:
        pixels: uint8 (rows, images, height, width, 3).
        valid: float32 (rows, images), 0 where there is no picture: black stays black.
        transforms: In their order.
        chances: One generator a row.
    """

    def change(row: int) -> None:
        for slot in np.flatnonzero(valid[row]):
            picture = Image.fromarray(pixels[row, slot])
            for transform in transforms:
                picture = transform(picture, chances[row])
            pixels[row, slot] = np.asarray(picture)

    rows = range(len(pixels))
    threads = min(thread_budget(), len(rows))
    if threads <= 1:
        for row in rows:
            change(row)
        return
    with ThreadPoolExecutor(threads) as pool:  # each row has a generator of its own
        list(pool.map(change, rows))


def trivial_augment() -> Transform:
    """One operation, of a strength between none and its most.

    TrivialAugment (Müller and Hutter, 2021, arXiv:2103.10158).
    """
    return _trivial


def _trivial(picture: Picture, generator: Generator) -> Picture:
    operation = OPERATIONS[generator.integers(len(OPERATIONS))]
    strength = int(generator.integers(STRENGTHS)) / (STRENGTHS - 1)
    return operation(picture, strength * (1 if generator.random() < 0.5 else -1))


def randaug(count: float = 2, strength: float = 9) -> Transform:
    """So many operations, each of the same strength out of 30 (Cubuk et al., 2019, 1909.13719)."""
    if count < 0 or not 0 <= strength < STRENGTHS:
        raise ValueError("out of range")

    def change(picture: Picture, generator: Generator) -> Picture:
        for _ in range(int(count)):
            operation = OPERATIONS[generator.integers(len(OPERATIONS))]
            sign = 1 if generator.random() < 0.5 else -1
            picture = operation(picture, sign * strength / (STRENGTHS - 1))
        return picture

    return change


def color_jitter(
    brightness: float = 0.1, contrast: float = 0.1, saturation: float = 0.1
) -> Transform:
    """Brightness, contrast and saturation times 1 plus or minus so much."""
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    widths = (brightness, contrast, saturation)

    def change(picture: Picture, generator: Generator) -> Picture:
        for number in generator.permutation(len(enhancers)):
            width = widths[number]
            factor = generator.uniform(max(0.0, 1 - width), 1 + width)
            if width:
                picture = enhancers[number](picture).enhance(factor)
        return picture

    return change


def affine(degrees: float = 15, shift: float = 0.1, zoom: float = 0.1) -> Transform:
    """Turned, shifted by shares of the sides, and zoomed by 1 plus or minus so much."""

    def change(picture: Picture, generator: Generator) -> Picture:
        angle = math.radians(generator.uniform(-degrees, degrees))
        right, down = generator.uniform(-shift, shift, 2) * picture.size
        scale = generator.uniform(max(0.05, 1 - zoom), 1 + zoom)
        cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
        x, y = picture.width / 2, picture.height / 2
        # From a place in the result to one in the picture, the centre staying where it is.
        back = (x + right, y + down)
        return _warp(
            picture,
            (cos, sin, x - cos * back[0] - sin * back[1]),
            (-sin, cos, y + sin * back[0] - cos * back[1]),
        )

    return change


def random_resize_crop(least: float = 0.08, most: float = 1.0) -> Transform:
    """A piece of so much of the area and a shape from 3:4 to 4:3, stretched to the whole."""
    if not 0 < least <= most <= 1:
        raise ValueError("out of range")

    def change(picture: Picture, generator: Generator) -> Picture:
        width, height = picture.size
        area = generator.uniform(least, most) * width * height
        shape = math.exp(generator.uniform(math.log(3 / 4), math.log(4 / 3)))
        across = min(width, max(1, round(math.sqrt(area * shape))))
        along = min(height, max(1, round(math.sqrt(area / shape))))
        left = int(generator.integers(width - across + 1))
        top = int(generator.integers(height - along + 1))
        box = (left, top, left + across, top + along)
        return picture.resize(picture.size, Image.Resampling.BICUBIC, box)

    return change


def random_flip(way: Image.Transpose, chance: float = 0.5) -> Transform:
    """Mirrored with this chance."""

    def change(picture: Picture, generator: Generator) -> Picture:
        return picture.transpose(way) if generator.random() < chance else picture

    return change


TRANSFORMS: dict[str, Callable[..., Transform]] = {
    "trivial_augment": trivial_augment,
    "randaug": randaug,
    "color_jitter": color_jitter,
    "affine": affine,
    "random_resize_crop": random_resize_crop,
    "random_horizontal_flip": partial(random_flip, Image.Transpose.FLIP_LEFT_RIGHT),
    "random_vertical_flip": partial(random_flip, Image.Transpose.FLIP_TOP_BOTTOM),
}
"""AutoGluon's name -> its numbers -> the transform."""


def _apply(transform: Transform, picture: Picture, generator: Generator) -> Picture:
    return transform(picture, generator)


def _warp(
    picture: Picture, across: tuple[float, float, float], down: tuple[float, float, float]
) -> Picture:
    return picture.transform(picture.size, Image.Transform.AFFINE, (*across, *down), _BILINEAR)


def _enhance(enhancer: Any) -> Callable[[Picture, float], Picture]:
    """A factor from 0.1, where hardly anything is left, over 1 to 1.9."""

    def change(picture: Picture, level: float) -> Picture:
        enhanced: Picture = enhancer(picture).enhance(1 + 0.9 * level)
        return enhanced

    return change


def _posterize(picture: Picture, level: float) -> Picture:
    return ImageOps.posterize(picture, 8 - round(6 * abs(level)))


def _solarize(picture: Picture, level: float) -> Picture:
    return ImageOps.solarize(picture, round(256 * (1 - abs(level))))


OPERATIONS: tuple[Callable[[Picture, float], Picture], ...] = (
    lambda picture, level: picture,
    lambda picture, level: ImageOps.autocontrast(picture),
    lambda picture, level: ImageOps.equalize(picture),
    _posterize,
    _solarize,
    _enhance(ImageEnhance.Color),
    _enhance(ImageEnhance.Contrast),
    _enhance(ImageEnhance.Brightness),
    _enhance(ImageEnhance.Sharpness),
    lambda picture, level: picture.rotate(30 * level, _BILINEAR),
    lambda picture, level: _warp(picture, (1, 0.3 * level, 0), (0, 1, 0)),
    lambda picture, level: _warp(picture, (1, 0, 0), (0.3 * level, 1, 0)),
    lambda picture, level: _warp(picture, (1, 0, level * picture.width / 8), (0, 1, 0)),
    lambda picture, level: _warp(picture, (1, 0, 0), (0, 1, level * picture.height / 8)),
)
"""The fourteen of TrivialAugment's RA space; the level is from -1 to 1."""


def _refused(where: str, name: str, head: str) -> ConfigError:
    if head in REFUSED:
        return ConfigError(
            where=f"hyperparameter {where!r}",
            what=f"{name!r} is not done: {REFUSED[head]}",
            mend="Leave it out",
        )
    near = near_name(head, TRANSFORMS)
    return ConfigError(
        where=f"hyperparameter {where!r}",
        what=f"{name!r} is no transform, or has other numbers"
        + (f"; {near!r} is near" if near and near != head else ""),
        mend=f"Choose of {', '.join((*FITTED, *TRANSFORMS))}",
    )
