import pytest

pytest.importorskip("torch")

import torch

from automm.config.schema import CategoricalMLPOptions, NumericalMLPOptions
from automm.models.encoders import categorical_mlp, numerical_mlp
from automm_serve.schema import Column

TABLE = {"age": [10.0, 20.0, 30.0, None], "city": ["Rome", "Oslo", "Rome", "Oslo"]}


def features(module, column, kind, options, cells):
    processor = module.fit("p", TABLE, [Column(column, kind)], options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = module.build(processor, options).eval()
    tensors = {k: torch.from_numpy(v) for k, v in processor.transform({column: cells})[0].items()}
    with torch.no_grad():
        return encoder(tensors)["features"]


def numbers(*cells):
    return features(numerical_mlp, "age", "number", NumericalMLPOptions(), list(cells))


def categories(*cells):
    return features(categorical_mlp, "city", "category", CategoricalMLPOptions(), list(cells))


def test_autogluon_s_widths_are_the_defaults():
    assert numbers(1.0).shape == (1, 128)
    assert categories("Rome").shape == (1, 64)


def test_one_number_alone_is_told_from_another():
    """A norm over a single number would make all of them alike."""
    found = numbers(10.0, 30.0)
    assert (found[0] - found[1]).abs().max() > 0.1


def test_a_gap_is_not_the_mean():
    found = numbers(20.0, None)
    assert (found[0] - found[1]).abs().max() > 0.01


@pytest.mark.parametrize("number", [1e38, -1e38, 3.4e38])
def test_a_number_of_another_world_is_finite(number):
    assert torch.isfinite(numbers(number)).all()


def test_missing_unseen_and_known_categories_differ():
    found = categories(None, "Paris", "Rome", "Oslo")
    apart = torch.cdist(found, found) + torch.eye(4)
    assert apart.min() > 1e-3
