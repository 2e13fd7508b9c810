import pytest

pytest.importorskip("torch")

import torch

from automm.config.overrides import override
from automm.config.schema import Config, OptimConfig
from automm.models.fused import build_fused
from automm.training.optim import OPTIMIZERS, build_optimizer, build_schedule
from automm_serve.answers import ClassesAnswer
from automm_serve.processors import TextProcessor
from tests.tiny_models import make_text_model


@pytest.fixture
def text_model(tmp_path):
    from automm.models.encoders import hf_text
    from automm_serve.schema import Column

    config = override(
        Config(),
        {
            "model.hf_text.checkpoint_name": str(make_text_model(tmp_path / "text")),
            "model.hf_text.frozen_blocks": 1,
            "model.hf_text.lr_mult": 2.0,
            "optim.lr": 0.1,
            "optim.lr_decay": 0.5,
            "model.fusion_mlp.lr_mult": 3.0,
        },
    )
    processor = hf_text.fit("hf_text", {"t": ["a"]}, [Column("t", "text")], config.model.hf_text)
    assert isinstance(processor, TextProcessor)
    return build_fused([processor], ClassesAnswer("y", ("a", "b")), config), config


def test_rates_fall_from_the_output_to_the_input_and_frozen_blocks_have_none(text_model):
    model, config = text_model
    groups = build_optimizer(model, config).param_groups
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}

    def rates(module):
        return sorted({rate[id(p)] for p in module.parameters()})

    layers = model.encoders["hf_text"].blocks
    assert all(id(p) not in rate for p in layers[0].parameters())
    assert rates(layers[1]) == [pytest.approx(0.1)]
    assert rates(layers[2]) == [pytest.approx(0.2)]
    assert rates(model.head) == [pytest.approx(0.3)]
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(len(group["params"]) for group in groups) == len(trained)


def test_biases_and_norms_do_not_decay(text_model):
    model, config = text_model
    for group in build_optimizer(model, config).param_groups:
        wanted = {p.dim() > 1 for p in group["params"]}
        assert wanted == {group["weight_decay"] > 0}


def rates_of(optim, steps=10, per_epoch=10):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(optimizer, optim, steps, per_epoch)
    rates = []
    for _ in range(steps + 1):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize("shape", ["cosine_decay", "polynomial_decay", "linear_decay"])
def test_the_rate_climbs_then_falls_to_its_end(shape):
    optim = OptimConfig(lr=1.0, warmup_steps=0.2, end_lr=0.1, lr_schedule=shape)
    rates = rates_of(optim)
    assert rates[0] < rates[1] < rates[2] == 1.0
    assert sorted(rates[2:], reverse=True) == rates[2:]
    assert rates[-1] == pytest.approx(0.1)


def test_warm_up_counts_in_steps_from_one_on():
    rates = rates_of(OptimConfig(lr=1.0, warmup_steps=4, lr_schedule="constant"))
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(rates[4:]) == {1.0}


def test_multi_step_divides_by_ten_after_the_named_epochs():
    optim = OptimConfig(lr=1.0, warmup_steps=0, lr_schedule="multi_step", lr_steps=(1, 2))
    rates = rates_of(optim, steps=9, per_epoch=3)
    assert rates[:3] == [1.0] * 3
    assert rates[3:6] == pytest.approx([0.1] * 3)
    assert rates[6:9] == pytest.approx([0.01] * 3)


def test_two_stages_speed_the_head_alone(text_model):
    model, config = text_model
    config = override(config, {"optim.lr_choice": "two_stages", "optim.lr_mult": 10})
    groups = build_optimizer(model, config).param_groups
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    blocks = model.encoders["hf_text"].blocks
    assert {rate[id(p)] for block in blocks[1:] for p in block.parameters()} == {0.2}
    assert [rate[id(p)] for p in model.head.parameters()] == pytest.approx([3.0, 3.0])


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_lowers_a_loss(text_model, name):
    model, config = text_model
    config = override(config, {"optim.optim_type": name, "optim.lr": 0.01})
    optimizer = build_optimizer(model, config)
    features = torch.randn(8, model.out_dim, generator=torch.Generator().manual_seed(0))
    truth = torch.arange(8) % 2

    def loss():
        return torch.nn.functional.cross_entropy(model.head(features), truth)

    before = loss().item()
    for _ in range(20):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < before
