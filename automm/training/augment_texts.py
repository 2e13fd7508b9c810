"""Texts of training rows changed at random, word by word; nothing is downloaded for it.

As AutoGluon does, an operation is drawn and a share of the words up to the greatest allowed. Its
synonyms come from a dictionary that must be fetched, so that words change their case here instead.
To add an operation: its function here, and its entry in ``OPERATIONS``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

from msgspec import Struct
from numpy.random import Generator

from automm_serve.cells import category_key, is_gap
from automm_serve.errors import ConfigError, near_name

Words: TypeAlias = list[str]

MARKS = (".", ",", "!", "?", ";", ":")

_STEP = re.compile(r"(\w+)(?:\(\s*([\d.]+)\s*\))?")


class TextAugmenter(Struct, frozen=True):
    """What is done to long enough texts.

    Attributes:
        operations: Each with the share of words that it changes; None draws one up to ``most``.
        most: Greatest share.
        from_words: Shorter texts stay as they are: they may be numbers, or names.
    """

    operations: tuple[tuple[str, float | None], ...]
    most: float
    from_words: int

    def change(self, cells: Sequence[object], chances: Sequence[Generator]) -> list[object] | None:
        """Return the cells, changed; None where none is long enough, or none was changed.

        Args:
            cells: Of one column.
            chances: One generator a row.
        """
        changed: list[object] | None = None
        for row, (cell, generator) in enumerate(zip(cells, chances, strict=True)):
            words = _words(cell)
            if len(words) < self.from_words:
                continue
            number = int(generator.integers(len(self.operations) + 1))
            if number == len(self.operations):  # as often as each of them: as it is
                continue
            name, share = self.operations[number]
            share = generator.uniform(0, self.most) if share is None else share
            count = max(1, round(share * len(words)))
            changed = list(cells) if changed is None else changed
            changed[row] = " ".join(OPERATIONS[name](words, count, generator))
        return changed


def read_augmenter(
    where: str, most: float, from_words: int, types: Sequence[str] | None
) -> TextAugmenter | None:
    """Return what an encoder's settings ask for; None where they ask for nothing.

    Args:
        where: Key of the section, for the message.
        most: Greatest share of the words.
        from_words: Words from which on a text is changed.
        types: Names of operations, some with their own share; all of them where None.

    Raises:
        ConfigError: An operation is unknown, or needs a download.
    """
    if not most:
        return None
    found = []
    for name in OPERATIONS if types is None else types:
        step = _STEP.fullmatch(name.strip())
        head = step.group(1) if step else name
        if head == "identity":
            continue
        if step is None or head not in OPERATIONS:
            near = near_name(head, OPERATIONS)
            what = f"{name!r} is no operation" + (f"; {near!r} is near" if near else "")
            if head == "syn_replacement":
                what = f"{name!r} needs a dictionary of synonyms, which would have to be fetched"
            raise ConfigError(
                where=f"hyperparameter '{where}.text_train_augment_types'",
                what=what,
                mend=f"Choose of {', '.join(OPERATIONS)}",
            )
        found.append((head, float(step.group(2)) if step.group(2) else None))
    return TextAugmenter(tuple(found), most, from_words)


def _words(cell: object) -> Words:
    if is_gap(cell):
        return []
    try:
        return category_key(cell).split()
    except ValueError:  # such rows are left out of training
        return []


def _swap(words: Words, count: int, generator: Generator) -> Words:
    """Neighbours change places."""
    words = list(words)
    for at in generator.integers(len(words) - 1, size=count) if len(words) > 1 else ():
        words[at], words[at + 1] = words[at + 1], words[at]
    return words


def _delete(words: Words, count: int, generator: Generator) -> Words:
    gone = set(generator.permutation(len(words))[: min(count, len(words) - 1)].tolist())
    return [word for place, word in enumerate(words) if place not in gone]


def _case(words: Words, count: int, generator: Generator) -> Words:
    words = list(words)
    for place in generator.permutation(len(words))[:count]:
        words[place] = words[place].swapcase()
    return words


def _punctuate(words: Words, count: int, generator: Generator) -> Words:
    words = list(words)
    for _ in range(count):
        mark = MARKS[generator.integers(len(MARKS))]
        words.insert(int(generator.integers(len(words) + 1)), mark)
    return words


OPERATIONS: dict[str, Callable[[Words, int, Generator], Words]] = {
    "random_swap": _swap,
    "random_delete": _delete,
    "random_case": _case,
    "insert_punc": _punctuate,
}
"""Name -> words, how many of them to change, generator -> other words."""
