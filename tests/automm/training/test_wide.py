"""The linear part begins at the best linear model of the rows, or stays at 0."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

import torch

from automm.config.overrides import override
from automm.config.schema import Config, FocalLossOptions, OptimConfig
from automm.data.rows import Rows, prepare_rows
from automm.models.encoders import ft_transformer
from automm.models.fused import FusedModel, build_fused
from automm.training import wide as module
from automm.training.optim import build_optimizer
from automm.training.wide import start_wide
from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.schema import Column

COLUMNS = (Column("code", "category"), Column("weight", "number"))
CODES = [f"c{i}" for i in range(40)]
WORTH = dict(zip(CODES, np.random.default_rng(5).normal(size=40), strict=True))


def cells(rows: int, seed: int = 0) -> tuple[dict[str, list[object]], np.ndarray]:
    """Rows labelled by the worth of their code and a tenth of their weight; there are gaps."""
    draw = np.random.default_rng(seed)
    codes = draw.choice(CODES, rows)
    weights = draw.normal(size=rows)
    truth = np.array([WORTH[code] for code in codes]) + weights / 10
    table: dict[str, list[object]] = {"code": list(codes), "weight": list(weights)}
    table["code"][0] = table["weight"][1] = None
    return table, truth


def config(**changes: object) -> Config:
    small = {"model.ft_transformer.token_dim": 8, "model.ft_transformer.num_blocks": 1}
    return override(Config(), {"model.wide.use": True, **small, **changes})


def untrained(table: dict[str, list[object]], answer: AnyAnswer) -> tuple[FusedModel, Rows]:
    options = config().model.ft_transformer
    processor = ft_transformer.fit("ft_transformer", table, COLUMNS, options)
    rows = prepare_rows("rows", table, (processor,), answer, 0)[0]
    return build_fused((processor,), answer, config()).eval(), rows


def linear(model: FusedModel, rows: Rows) -> np.ndarray:
    """What the linear part and the head's bias say, (rows, logits)."""
    (wide,) = model.wide.values()
    with torch.inference_mode():
        said = wide(rows.batch(range(len(rows))).tensors) + model.head.bias
    return np.asarray(said.numpy())


def test_numbers_are_foretold_before_the_first_step():
    table, truth = cells(600)
    table["y"] = (1000 + 50 * truth).tolist()
    answer = ValuesAnswer.fit("y", table)
    model, rows = untrained(table, answer)
    assert (linear(model, rows) == 0).all()
    start_wide(model, rows, answer, OptimConfig(), seed=0)
    foretold = linear(model, rows)[:, 0]
    assert np.corrcoef(foretold, truth)[0, 1] > 0.97
    assert np.std(foretold - rows.targets["targets"].ravel()) < 0.25


@pytest.mark.parametrize("names", [("no", "yes"), ("low", "middle", "high")])
def test_classes_are_foretold_before_the_first_step(names):
    table, truth = cells(600)
    edges = np.quantile(truth, np.arange(1, len(names)) / len(names))
    wanted = np.searchsorted(edges, truth)
    table["y"] = np.array(names)[wanted].tolist()
    answer = ClassesAnswer("y", names)
    model, rows = untrained(table, answer)
    start_wide(model, rows, answer, OptimConfig(), seed=0)
    assert (linear(model, rows).argmax(axis=1) == wanted).mean() > 0.85


def test_a_class_that_the_rows_lack_is_the_least_likely():
    table, truth = cells(300)
    table["y"] = np.where(truth > -0.5, "b", "d").tolist()
    answer = ClassesAnswer("y", ("a", "b", "c", "d"))
    model, rows = untrained(table, answer)
    start_wide(model, rows, answer, OptimConfig(), seed=0)
    powers = np.exp(linear(model, rows))
    shares = powers / powers.sum(axis=1, keepdims=True)
    assert (shares[:, [0, 2]] < 0.02).all()


def test_the_weights_of_the_classes_count():
    table, truth = cells(600)
    noise = np.random.default_rng(3).normal(size=600)
    table["y"] = np.where(truth + 2 * noise > 3, "yes", "no").tolist()
    answer = ClassesAnswer("y", ("no", "yes"))
    shares = {}
    for name, optim in {
        "none": OptimConfig(),
        "class_weights": OptimConfig(class_weights=(1.0, 12.0)),
        "alpha": OptimConfig(
            loss_func="focal_loss", focal_loss=FocalLossOptions(alpha=(1.0, 12.0))
        ),
    }.items():
        model, rows = untrained(table, answer)
        start_wide(model, rows, answer, optim, seed=0)
        shares[name] = linear(model, rows).argmax(axis=1).mean()
    assert shares["none"] < 0.1 < shares["class_weights"] == shares["alpha"]


def test_pictures_are_not_read_for_it(tmp_path):
    table, truth = cells(40)
    table |= {"y": truth.tolist(), "photo": [b"no picture"] * 40}
    answer = ValuesAnswer.fit("y", table)
    model, rows = untrained(table, answer)
    with patch.object(Rows, "batch", side_effect=AssertionError("all tensors are read")):
        start_wide(model, rows, answer, OptimConfig(), seed=0)
    assert linear(model, rows).any()


@pytest.mark.parametrize("rows", [2, 4, 300])
def test_what_foretells_nothing_stays_at_zero(rows):
    table, _ = cells(rows)
    draw = np.random.default_rng(11)
    table["y"] = draw.normal(size=rows).tolist()
    answer = ValuesAnswer.fit("y", table)
    model, prepared = untrained(table, answer)
    start_wide(model, prepared, answer, OptimConfig(), seed=0)
    assert np.abs(linear(model, prepared)).max() < 0.5


def test_what_a_number_says_is_left_to_the_network():
    table, _ = cells(600)
    sizes = np.random.default_rng(7).normal(size=600)
    table |= {"weight": sizes.tolist(), "code": [f"c{size > 0}" for size in sizes]}
    table["y"] = (3 * sizes).tolist()
    answer = ValuesAnswer.fit("y", table)
    model, rows = untrained(table, answer)
    start_wide(model, rows, answer, OptimConfig(), seed=0)
    assert np.abs(linear(model, rows)).max() < 0.1  # by itself the code would say 0.8


@pytest.mark.parametrize("limit", ["MOST_WEIGHTS", "MOST_WORK"])
def test_what_would_cost_too_much_begins_at_zero(limit, monkeypatch):
    table, truth = cells(100)
    table["y"] = truth.tolist()
    answer = ValuesAnswer.fit("y", table)
    model, rows = untrained(table, answer)
    monkeypatch.setattr(module, limit, 2)
    start_wide(model, rows, answer, OptimConfig(), seed=0)
    assert not linear(model, rows).any()


def test_it_learns_at_a_rate_of_its_own_and_is_left_out_where_not_asked_for():
    table, truth = cells(50)
    table["y"] = truth.tolist()
    model, _ = untrained(table, ValuesAnswer.fit("y", table))
    asked = config(**{"optim.lr": 0.1, "model.wide.lr_mult": 3.0})
    groups = build_optimizer(model, asked).param_groups
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert [rate[id(p)] for p in model.wide.parameters()] == [pytest.approx(0.3)]
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(len(group["params"]) for group in groups) == len(trained)

    processor = ft_transformer.fit("ft_transformer", table, COLUMNS, asked.model.ft_transformer)
    without = override(asked, {"model.wide.use": False})
    assert not build_fused((processor,), ValuesAnswer.fit("y", table), without).wide
