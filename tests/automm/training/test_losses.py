import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch.nn import functional

from automm.config.overrides import override
from automm.config.schema import Config, FocalLossOptions
from automm.training.losses import focal_loss, weigh_classes
from automm_serve.errors import ConfigError

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3], [-3.0, 4.0, 0.0]])
TRUTH = torch.tensor([0, 2, 0])


def test_without_focus_it_is_cross_entropy():
    found = focal_loss(LOGITS, TRUTH, FocalLossOptions(gamma=0))
    assert found.item() == pytest.approx(functional.cross_entropy(LOGITS, TRUTH).item())


def test_what_is_told_well_counts_less():
    plain = focal_loss(LOGITS, TRUTH, FocalLossOptions(gamma=0, reduction="sum"))
    focused = focal_loss(LOGITS, TRUTH, FocalLossOptions(gamma=2, reduction="sum"))
    hard = focal_loss(LOGITS[2:], TRUTH[2:], FocalLossOptions(gamma=2, reduction="sum"))
    assert focused < plain
    assert hard / focused > 0.8  # the third row alone is told badly


def test_alpha_and_weights_weigh_the_classes():
    options = FocalLossOptions(gamma=1, alpha=(2.0, 1.0, 1.0), reduction="sum")
    plain = FocalLossOptions(gamma=1, reduction="sum")
    rows = [focal_loss(LOGITS[i : i + 1], TRUTH[i : i + 1], plain).item() for i in range(3)]
    assert focal_loss(LOGITS, TRUTH, options).item() == pytest.approx(
        2 * rows[0] + rows[1] + 2 * rows[2], rel=1e-5
    )
    weights = torch.tensor([1.0, 1.0, 3.0])
    assert focal_loss(LOGITS, TRUTH, plain, weights).item() == pytest.approx(
        rows[0] + 3 * rows[1] + rows[2], rel=1e-5
    )


def test_balanced_weights_make_the_classes_count_alike():
    config = override(Config(), {"optim.class_weights": "balanced"})
    codes = np.array([0] * 6 + [1] * 3 + [2])
    weights = np.array(weigh_classes(config, codes, 3).optim.class_weights)
    assert np.bincount(codes) * weights == pytest.approx([10 / 3] * 3)


def test_a_class_without_rows_is_no_division_by_zero():
    config = override(Config(), {"optim.class_weights": "balanced"})
    weights = np.array(weigh_classes(config, np.array([0, 0]), 2).optim.class_weights)
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("key", ["class_weights", "focal_loss.alpha"])
def test_there_is_a_weight_for_each_class(key):
    config = override(Config(), {f"optim.{key}": [1, 2]})
    with pytest.raises(ConfigError, match=f"{key}.*2 weights.*3 classes"):
        weigh_classes(config, np.array([0, 1, 2]), 3)
