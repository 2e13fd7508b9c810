"""What is done to a batch of training rows, and to no others: read off the settings, applied.

All that is random about a row comes of its own generator, so that training that goes on after an
interruption, or on several devices, sees the same rows as training without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from automm.config.data import MixupOptions
from automm.config.schema import Config
from automm.data.rows import Rows
from automm.models.encoders import options_of
from automm.tasks.base import Batch
from automm.training.augment_mix import check_mixup, mix
from automm.training.augment_pictures import Transform, augment_pictures, read_transforms
from automm.training.augment_texts import TextAugmenter, read_augmenter
from automm_serve.answers import AnyAnswer, ClassesAnswer
from automm_serve.processors import AnyProcessor, ImageProcessor, TextProcessor

_UNMIXED = MixupOptions()


@dataclass(frozen=True)
class Augmentation:
    """What is done to a batch.

    Attributes:
        pictures: Processor -> transforms of its pictures.
        texts: Processor -> what is done to its texts.
        modality_dropout: Chance that a kind of input is taken for missing, row by row.
        mixup: How rows are mixed.
        classes: Number of classes; 0 where the label holds numbers.
    """

    pictures: Mapping[str, tuple[Transform, ...]] = field(default_factory=dict)
    texts: Mapping[str, TextAugmenter] = field(default_factory=dict)
    modality_dropout: float = 0.0
    mixup: MixupOptions = _UNMIXED
    classes: int = 0

    def changes(self, processor: str) -> bool:
        """Tell whether a training row's tensors of a processor are not those of its cells."""
        alone = processor in self.pictures or processor in self.texts
        return alone or bool(self.modality_dropout) or self.mixup.turn_on

    def apply(
        self, rows: Rows, chosen: Sequence[int], epoch: int, chances: Sequence[Generator]
    ) -> Batch:
        """Return these rows, changed.

        Args:
            rows: Of training.
            chosen: Their positions.
            epoch: From 0.
            chances: One generator a row, of all that is random about it: the row is then changed
                in the same way whichever others stand beside it.
        """
        batch = rows.batch(chosen)
        for processor in rows.processors:
            if texts := self.texts.get(processor.name):
                _change_texts(batch, rows, chosen, processor, texts, chances)
            if transforms := self.pictures.get(processor.name):
                pixels = batch.tensors[f"{processor.name}_pixels"].numpy()  # the batch's own copy
                valid = batch.tensors[f"{processor.name}_valid"].numpy()
                augment_pictures(pixels, valid, transforms, chances)
        batch = self._drop(batch, rows, chances)
        if self.mixup.turn_on and epoch < self.mixup.turn_off_epoch:
            batch = mix(batch, rows.processors, self.classes, self.mixup, chances)
        return batch

    def _drop(self, batch: Batch, rows: Rows, chances: Sequence[Generator]) -> Batch:
        """Take kinds of input for missing; two encoders of one kind lack it together."""
        kinds = list(dict.fromkeys(type(processor) for processor in rows.processors))
        if not self.modality_dropout or len(kinds) < 2:
            return batch
        draws = np.stack([chance.random(len(kinds)) for chance in chances])
        drop = draws < self.modality_dropout
        drop[drop.all(axis=1)] = False  # a row of which nothing is left teaches nothing
        columns = {
            processor.name: np.ascontiguousarray(drop[:, kinds.index(type(processor))])
            for processor in rows.processors
        }
        return rows.without(batch, columns)


def read_augmentation(
    config: Config, processors: Sequence[AnyProcessor], answer: AnyAnswer
) -> Augmentation:
    """Read off the settings what is to be done to training rows.

    Raises:
        ConfigError: A transform is unknown or cannot be done, or there is nothing to mix.
    """
    pictures, texts = {}, {}
    for processor in processors:
        name, options = processor.name, options_of(config, processor.name)
        if isinstance(processor, ImageProcessor):
            asked = getattr(options, "train_transforms", ())
            if found := read_transforms(f"model.{name}.train_transforms", asked):
                pictures[name] = found
        if isinstance(processor, TextProcessor):
            augmenter = read_augmenter(
                f"model.{name}",
                getattr(options, "text_trivial_aug_maxscale", 0.0),
                getattr(options, "text_aug_detect_length", 1),
                getattr(options, "text_train_augment_types", None),
            )
            if augmenter is not None:
                texts[name] = augmenter
    classes = len(answer.classes) if isinstance(answer, ClassesAnswer) else 0
    check_mixup(config.data.mixup, processors, classes)
    return Augmentation(pictures, texts, config.data.modality_dropout, config.data.mixup, classes)


def _change_texts(
    batch: Batch,
    rows: Rows,
    chosen: Sequence[int],
    processor: AnyProcessor,
    texts: TextAugmenter,
    chances: Sequence[Generator],
) -> None:
    """Put the tokens of changed texts in the place of theirs; as ever, table to table first."""
    assert isinstance(processor, TextProcessor)
    table = {column: [rows.table[column][row] for row in chosen] for column in processor.columns}
    worded = {wording.column for wording in processor.wordings}
    changed = {
        column: found
        for column, cells in table.items()
        if column not in worded and (found := texts.change(cells, chances)) is not None
    }
    if changed:
        batch.tensors.update(rows.transform(processor, {**table, **changed}))
