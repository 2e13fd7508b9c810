from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch.nn import functional

from automm.config.overrides import override
from automm.config.schema import Config, FocalLossOptions
from automm.models.encoders.base import Encoder
from automm.models.fused import FusedModel, build_fused
from automm.models.fusion.mlp import FusionMLP
from automm.tasks.base import Batch
from automm.training.losses import align_loss, classes_loss, focal_loss
from automm_serve.answers import ClassesAnswer
from automm_serve.errors import ConfigError
from automm_serve.processors import TabularProcessor
from automm_serve.tensors import Table

ANSWER = ClassesAnswer("kind", ("a", "b", "c"))


class Stub(Encoder):
    """An encoder of a number and its square, each times what it has learnt."""

    out_dim = 2
    blocks = ()

    def __init__(self, name):
        super().__init__()
        self.name = name
        self.weight = torch.nn.Parameter(torch.ones(2))

    def forward(self, tensors):
        number = tensors[self.name]
        return {"features": torch.stack([number, number**2], 1) * self.weight}


def model(config, **options):
    fusion = FusionMLP([2, 2], config.model.fusion_mlp)
    return FusedModel({"one": Stub("one"), "two": Stub("two")}, fusion, ANSWER, **options)


def batch(**targets):
    tensors = {"one": torch.tensor([1.0, -2.0]), "two": torch.tensor([0.5, 3.0])}
    return Batch(tensors, {"classes": torch.tensor([0, 2]), **targets})


def test_divergence_is_that_of_every_ordered_pair_of_encoders():
    features = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    logs = functional.log_softmax(features, dim=2)
    pairs = [
        functional.kl_div(logs[:, i], logs[:, j], reduction="batchmean", log_target=True)
        for i in range(3)
        for j in range(3)
        if i != j
    ]
    torch.testing.assert_close(align_loss(features), torch.stack(pairs).mean())
    assert align_loss(features[:, :1].expand(-1, 3, -1)) == pytest.approx(0, abs=1e-7)


def test_features_are_drawn_together_in_training_alone():
    given = {"optim.cross_modal_align": "positive_only", "optim.cross_modal_align_weight": 0.5}
    config = override(Config(), given)
    fused = model(config, aligns=True)
    losses = classes_loss(fused, batch(), config)
    assert set(losses) == {"loss", "align"}
    losses["align"].backward()
    assert fused.encoders["one"].weight.grad.abs().sum() > 0
    assert "aligned" not in fused.eval()(batch().tensors)
    assert set(classes_loss(model(config), batch(), config)) == {"loss"}


def test_every_encoder_has_a_loss_of_its_own_where_it_weighs_something():
    losses = classes_loss(model(Config(), aux_loss_weight=0.25), batch(), Config())
    assert set(losses) == {"loss", "aux_one", "aux_two"}
    assert set(classes_loss(model(Config()), batch(), Config())) == {"loss"}


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_shares_of_one_class_are_that_class(gamma):
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    truth = torch.tensor([0, 1, 2, 2, 1, 0])
    options = FocalLossOptions(gamma=gamma, alpha=(0.2, 0.3, 0.5))
    soft = functional.one_hot(truth, 3).float()
    torch.testing.assert_close(
        focal_loss(logits, truth, options), focal_loss(logits, soft, options)
    )
    sure: Any = (100 * (1 - soft)).requires_grad_()  # wrong with certainty
    focal_loss(sure, soft, options).backward()
    assert torch.isfinite(sure.grad).all()


@pytest.mark.parametrize("loss_func", ["auto", "focal_loss"])
def test_mixed_targets_take_the_place_of_the_classes(loss_func):
    config = override(Config(), {"optim.loss_func": loss_func, "optim.label_smoothing": 0.2})
    fused = model(config).eval()
    halves = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    found = classes_loss(fused, batch(soft=halves), config)["loss"]
    logs = functional.log_softmax(fused(batch().tensors)["logits"], dim=1)
    weights = (1 - logs.exp()) ** 2 if loss_func == "focal_loss" else 1.0
    torch.testing.assert_close(found, -(halves * weights * logs).sum(1).mean())


def test_nothing_to_align_is_an_error():
    table: Table = {"a": [1.0, 2.0, 4.0], "b": ["x", "y", "x"]}
    numbers = TabularProcessor.fit("numerical_mlp", table, ["a"], [])
    words = TabularProcessor.fit("categorical_mlp", table, [], ["b"])
    config = override(Config(), {"optim.cross_modal_align": "positive_only"})
    with pytest.raises(ConfigError, match="its weight is 0"):
        build_fused([numbers, words], ANSWER, config)
    config = override(config, {"optim.cross_modal_align_weight": 0.1})
    with pytest.raises(ConfigError, match="one encoder"):
        build_fused([numbers], ANSWER, config)
    assert build_fused([numbers, words], ANSWER, config).aligns
