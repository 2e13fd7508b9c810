from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from automm.config.data import DataConfig, LabelDataOptions
from automm.tasks import find_task
from automm_serve.errors import ConfigError

LABELS: dict[str, Any] = {
    "good": ["yes", "no", "yes", "no"],
    "size": [1, 2, 3, 2],
    "price": [10.0, 20.0, 60.0, 30],
}


@pytest.mark.parametrize(
    ("label", "pos_label", "classes"),
    [("good", None, ("no", "yes")), ("good", "no", ("yes", "no")), ("good", "yes", ("no", "yes"))],
)
def test_the_positive_class_stands_second(label, pos_label, classes):
    answer: Any = find_task("binary").answer(label, LABELS, DataConfig(pos_label=pos_label))
    assert answer.classes == classes
    targets, _ = answer.encode(LABELS, {})
    assert [classes[code] for code in targets["classes"]] == LABELS[label]


@pytest.mark.parametrize(
    ("problem_type", "label", "says"),
    [
        ("binary", "good", "'maybe' is not one of the classes.*Choose 'no' or 'yes'"),
        ("multiclass", "size", "3 classes, and no positive one"),
        ("regression", "price", "numbers, and no classes"),
    ],
)
def test_a_positive_class_that_is_none_is_an_error(problem_type, label, says):
    with pytest.raises(ConfigError, match=says):
        find_task(problem_type).answer(label, LABELS, DataConfig(pos_label="maybe"))


@pytest.mark.parametrize(
    ("scaling", "targets"),
    [
        ("standardscaler", (np.array(LABELS["price"]) - 30) / np.std(LABELS["price"])),
        ("minmaxscaler", [0, 0.2, 1, 0.4]),
        (None, LABELS["price"]),
    ],
)
def test_numbers_are_learnt_as_they_are_scaled_and_answered_in_their_unit(scaling, targets):
    data = DataConfig(label=LabelDataOptions(numerical_preprocessing=scaling))
    answer: Any = find_task("regression").answer("price", LABELS, data)
    found, _ = answer.encode(LABELS, {})
    np.testing.assert_allclose(found["targets"], targets, rtol=1e-6)
    back = found["targets"] * answer.deviation + answer.mean  # as the graph does
    np.testing.assert_allclose(back, LABELS["price"], rtol=1e-6)
