import pytest

pytest.importorskip("torch")

import torch

from automm.config.overrides import override
from automm.config.schema import Config, OptimConfig
from automm.models.fused import build_fused
from automm.training.optim import build_optimizer, build_schedule
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


def test_the_rate_climbs_then_falls_to_its_end():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=1.0)
    optim = OptimConfig(lr=1.0, warmup_steps=0.2, end_lr=0.1)
    schedule = build_schedule(optimizer, optim, 10)
    rates = []
    for _ in range(10):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[0] < rates[1] < rates[2] == 1.0
    assert sorted(rates[2:], reverse=True) == rates[2:]
    assert schedule.get_last_lr()[0] == pytest.approx(0.1)
