import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from automm.config.data import MixupOptions
from automm.tasks.base import Batch
from automm.training.augment_mix import check_mixup, draw, mix
from automm_serve.errors import ConfigError
from automm_serve.processors import ImageProcessor, TabularProcessor
from tests.pets import pets

TABLE = pets(8)
PROCESSORS = (
    ImageProcessor.fit("image", TABLE, ["photo"], 20, 20),
    TabularProcessor.fit("table", TABLE, ["age"], []),
)


def batch(rows=5):
    shades = torch.arange(1, rows + 1).reshape(-1, 1, 1, 1, 1) * 10
    return Batch(
        {
            "image_pixels": shades.expand(-1, 1, 20, 20, 3).to(torch.uint8).clone(),
            "image_valid": torch.ones(rows, 1),
            "table_numbers": torch.arange(rows).float().unsqueeze(1),
        },
        {"classes": torch.arange(rows) % 3},
    )


def mixed(rows=5, seed=0, **options):
    chances = [np.random.default_rng([seed, row]) for row in range(rows)]
    settings = MixupOptions(turn_on=True, **options)
    return mix(batch(rows), PROCESSORS, 3, settings, chances), draw(
        settings, [np.random.default_rng([seed, row]) for row in range(rows)]
    )


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("only", [{"cutmix_alpha": 0.0}, {"mixup_alpha": 0.0}, {}])
def test_targets_are_mixed_as_the_pictures_are(mode, only):
    found, how = mixed(mode=mode, label_smoothing=0.0, **only)
    plain = torch.nn.functional.one_hot(batch().targets["classes"], 3).float()
    pixels = batch().tensors["image_pixels"].float()
    for row, mixing in enumerate(how):
        share = mixing.share
        torch.testing.assert_close(
            found.targets["soft"][row], share * plain[row] + (1 - share) * plain[4 - row]
        )
        mean = share * pixels[row].mean() + (1 - share) * pixels[4 - row].mean()
        # A piece has whole pixels, its share has not.
        assert abs(found.tensors["image_pixels"][row].mean() - mean) < 3
        owner = row if share >= 0.5 else 4 - row
        assert found.tensors["table_numbers"][row] == owner
    shares = {mixing.share for mixing in how}
    assert len(shares) == {"batch": 1, "pair": 3, "elem": 5}[mode]


def test_cutmix_takes_a_piece_and_leaves_the_rest():
    found, how = mixed(mixup_alpha=0.0, cutmix_minmax=(0.4, 0.6), seed=3)
    first = found.tensors["image_pixels"][0, 0]
    assert set(first.unique().tolist()) == {10.0, 50.0}
    taken = float((first == 50).float().mean())
    assert 0.16 * 0.8 < taken < 0.36 * 1.2
    assert taken == pytest.approx(1 - how[0].share, abs=0.05)


def test_smoothing_spreads_a_share_over_all_classes():
    found, _ = mixed(prob=0.0, label_smoothing=0.3)
    torch.testing.assert_close(found.targets["soft"][0], torch.tensor([0.8, 0.1, 0.1]))
    torch.testing.assert_close(
        found.tensors["image_pixels"], batch().tensors["image_pixels"].float()
    )


@pytest.mark.parametrize(
    ("options", "processors", "classes", "says"),
    [
        ({}, PROCESSORS[1:], 3, "no column of pictures"),
        ({}, PROCESSORS, 0, "only classes are mixed"),
        ({"mixup_alpha": 0, "cutmix_alpha": 0}, PROCESSORS, 3, "neither"),
        ({"cutmix_minmax": (0.5, 0.2)}, PROCESSORS, 3, "falls"),
    ],
)
def test_nothing_to_mix_is_an_error(options, processors, classes, says):
    with pytest.raises(ConfigError, match=says):
        check_mixup(MixupOptions(turn_on=True, **options), processors, classes)
    check_mixup(MixupOptions(**options), processors, classes)
