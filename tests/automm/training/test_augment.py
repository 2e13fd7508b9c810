import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from automm.config.overrides import override
from automm.config.schema import Config
from automm.data.datamodule import TrainingData
from automm.data.rows import prepare_rows
from automm.training.augment import Augmentation, read_augmentation
from automm_serve.answers import ClassesAnswer
from automm_serve.errors import ConfigError
from automm_serve.processors import ImageProcessor, TabularProcessor, TextProcessor
from automm_serve.processors.text import Wording
from tests.automm_serve.samples import word_tokenizer
from tests.pets import WORDS, pets

KNOWN = [*" ".join(WORDS.values()).split(), *"the one a of 1 2 3".split()]  # noqa: SIM905
TABLE = pets(40)
PROCESSORS = (
    ImageProcessor.fit("timm_image", TABLE, ["photo", "side"], 16, 16),
    TextProcessor.fit("hf_text", ["story"], word_tokenizer(KNOWN).to_str(), 32),
    TabularProcessor.fit("ft_transformer", TABLE, ["weight"], ["city"]),
)
ANSWER = ClassesAnswer.fit("kind", TABLE)
ROWS, _ = prepare_rows("rows", TABLE, PROCESSORS, ANSWER, 1 << 30)
EVERYTHING = {
    "model.timm_image.train_transforms": ["trivial_augment", "random_horizontal_flip"],
    "model.hf_text.text_trivial_aug_maxscale": 0.5,
    "model.hf_text.text_aug_detect_length": 3,
    "data.modality_dropout": 0.3,
}


def augmentation(settings):
    return read_augmentation(override(Config(), settings), PROCESSORS, ANSWER)


def data(settings=EVERYTHING, seed=0, **options):
    return TrainingData(
        ROWS,
        ROWS,
        size=8,
        valid_size=8,
        batch_size=16,
        epochs=2,
        augmentation=augmentation(settings),
        seed=seed,
        **options,
    )


def seen(source, number):
    step = source.step(number)
    return source.batch(step, range(len(step.rows))).tensors


def equal(one, other):
    return all(torch.equal(one[name].nan_to_num(), other[name].nan_to_num()) for name in one)


def test_a_step_is_the_same_whenever_it_is_asked_for_and_another_one_by_another_seed():
    first, again = data(), data()
    for number in range(first.last):
        seen(first, number)
    for number in reversed(range(first.last)):
        assert first.step(number) == again.step(number)
        assert equal(seen(first, number), seen(again, number))
    assert not equal(seen(first, 0), seen(data(seed=1), 0))
    assert not equal(seen(first, 0), seen(data({}), 0))


def test_a_row_is_the_same_in_whatever_portion_it_is_computed():
    source = data()
    step = source.step(1)
    whole = source.batch(step, range(16)).tensors
    part = source.batch(step, [3, 9]).tensors
    for name, tensor in part.items():
        length = tensor.shape[1]
        np.testing.assert_array_equal(tensor, whole[name][[3, 9], :length], name)


def test_steps_go_through_every_row_once_an_epoch_and_begin_where_they_are_told():
    source = data()
    assert (source.steps_per_epoch, source.last) == (3, 6)
    steps = list(source.train_dataloader())
    assert [step.number for step in steps] == list(range(6))
    for epoch in (steps[:3], steps[3:]):
        assert sorted(row for step in epoch for row in step.rows) == list(range(40))
    assert steps[0].rows != steps[3].rows
    source.at = 4
    assert list(source.train_dataloader()) == steps[4:]


def test_validation_rows_are_as_they_are():
    for rows, batch in data().valid_batches():
        assert equal(batch.tensors, ROWS.batch(rows).tensors)


def test_tokens_are_those_of_the_changed_text():
    source = data({**EVERYTHING, "data.modality_dropout": 0.0})
    step = source.step(0)
    after = source.batch(step, range(len(step.rows))).tensors
    before = ROWS.batch(step.rows).tensors
    lengths = after["hf_text_mask"].sum(1)
    assert (lengths != before["hf_text_mask"].sum(1)).any(), "words were left out or put in"
    assert after["hf_text_ids"].shape[1] == lengths.max()


def test_columns_that_are_put_into_words_are_not_changed():
    worded = TextProcessor.fit("hf_text", ["weight"], word_tokenizer(KNOWN).to_str(), 32)
    worded = type(worded)(
        **{f: getattr(worded, f) for f in worded.__struct_fields__ if f != "wordings"},
        wordings=(Wording("weight", "number"),),
    )
    rows, _ = prepare_rows("rows", TABLE, [worded], ANSWER, 1 << 30)
    texts = augmentation({**EVERYTHING, "model.hf_text.text_aug_detect_length": 1}).texts
    chances = [np.random.default_rng(row) for row in range(20)]
    found = Augmentation(texts=texts).apply(rows, range(20), 0, chances)
    assert equal(found.tensors, rows.batch(range(20)).tensors)


def test_two_encoders_of_a_kind_lack_it_together():
    table = {name: [*cells[:4]] * 50 for name, cells in TABLE.items()}
    processors = (
        TabularProcessor.fit("ft_transformer_a", table, ["age"], []),
        TabularProcessor.fit("ft_transformer_b", table, ["age"], []),
        TextProcessor.fit("hf_text", ["story"], word_tokenizer(KNOWN).to_str(), 32),
    )
    rows, _ = prepare_rows("rows", table, processors, ANSWER, 1 << 30)
    chances = [np.random.default_rng(row) for row in range(200)]
    found = Augmentation(modality_dropout=0.4).apply(rows, range(200), 0, chances).tensors
    one, other = (found[f"ft_transformer_{part}_numbers"].isnan()[:, 0] for part in "ab")
    assert torch.equal(one, other)
    text = found["hf_text_mask"].sum(1) <= 2
    assert 30 < int(one.sum()) < 100
    assert not (one & text).any(), "something is left of every row"


def test_rows_are_mixed_until_the_epoch_in_which_it_ends():
    mixing = augmentation({"data.mixup.turn_on": True, "data.mixup.turn_off_epoch": 1})
    chances = [np.random.default_rng(row) for row in range(4)]
    assert "soft" in mixing.apply(ROWS, range(4), 0, chances).targets
    assert "soft" not in mixing.apply(ROWS, range(4), 1, chances).targets


def test_settings_are_read_before_any_row_is():
    with pytest.raises(ConfigError, match=r"model\.timm_image\.train_transforms"):
        augmentation({"model.timm_image.train_transforms": ["flip"]})
    with pytest.raises(ConfigError, match=r"model\.hf_text\.text_train_augment_types"):
        augmentation({"model.hf_text.text_train_augment_types": ["flip"]})
