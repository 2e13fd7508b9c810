"""A table of pets in every kind of column, with gaps, whose label can be learned in seconds.

It is made, not found: a test that trains a tiny model needs a rule that such a model can learn.
"""

from __future__ import annotations

import io
import random

import numpy as np
from PIL import Image

COLOURS = {"cat": (200, 40, 40), "dog": (40, 40, 200), "bird": (40, 200, 40)}
WORDS = {"cat": "small red", "dog": "large blue", "bird": "green new"}


def pets(rows: int = 90, seed: int = 0) -> dict[str, list[object]]:
    """Return ``photo``, ``side``, ``title``, ``story``, ``weight``, ``age``, ``city``, labels."""
    chance = random.Random(seed)
    table: dict[str, list[object]] = {
        name: []
        for name in ("photo", "side", "title", "story", "weight", "age", "city", "kind", "price")
    }
    for row in range(rows):
        kind = list(COLOURS)[row % 3]
        weight = {"cat": 4.0, "dog": 20.0, "bird": 0.3}[kind] * chance.uniform(0.8, 1.2)
        table["photo"].append(picture(COLOURS[kind], seed=row) if chance.random() > 0.2 else None)
        table["side"].append(
            picture(COLOURS[kind], seed=row + 999, size=(20, 31)) if chance.random() > 0.4 else None
        )
        table["title"].append(f"the {WORDS[kind]} one" if chance.random() > 0.3 else None)
        table["story"].append(" ".join(chance.choices([*WORDS[kind].split(), "a", "of"], k=6)))
        table["weight"].append(weight if chance.random() > 0.2 else None)
        table["age"].append(chance.randint(1, 15) + chance.random())
        table["city"].append(chance.choice(["Rome", "Oslo", "Lima"]) if row % 7 else None)
        table["kind"].append(kind)
        table["price"].append(100 * weight + chance.uniform(-5, 5))
    return table


def picture(
    colour: tuple[int, int, int], *, seed: int = 0, size: tuple[int, int] = (24, 24)
) -> bytes:
    """Return a PNG of one colour and some noise."""
    noise = np.random.default_rng(seed).integers(-30, 30, (size[1], size[0], 3))
    pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
