import pytest

pytest.importorskip("torch")

import torch
from torch.autograd.graph import saved_tensors_hooks

from automm.config.overrides import override
from automm.config.schema import Config
from automm.models.encoders import find_encoder, options_of
from automm.models.fused import build_fused
from automm.training.memory import checkpointing, is_out_of_memory
from automm_serve.answers import ClassesAnswer
from automm_serve.errors import ConfigError
from automm_serve.schema import Column
from automm_serve.tensors import Table
from tests.pets import picture
from tests.tiny_models import make_image_model, make_text_model

CELLS: Table = {
    "t": ["a red cat", "blue dog", "new old house"],
    "p": [picture((200, 10, 10)), picture((10, 200, 10)), picture((9, 9, 200))],
}


def model_of(folder, name, family, asked):
    make = make_text_model if name == "hf_text" else make_image_model
    given = {
        f"model.{name}.checkpoint_name": str(make(folder / "checkpoint", family)),
        f"model.{name}.gradient_checkpointing": asked,
    }
    config = override(Config(), given)
    column = Column("t", "text") if name == "hf_text" else Column("p", "image")
    processor = find_encoder(name).fit(name, CELLS, [column], options_of(config, name))
    torch.manual_seed(0)
    model = build_fused([processor], ClassesAnswer("y", ("a", "b")), config)
    feed = {k: torch.from_numpy(v) for k, v in processor.transform(CELLS)[0].items()}
    return model, config, feed


def gradients(model, config, feed):
    """Gradients, and bytes that are kept from the forward pass for them."""
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    torch.manual_seed(1)
    with checkpointing(model.train(), config), saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(feed)["logits"].square().sum()
        weights = {p.data_ptr() for p in model.parameters()}
        size = sum(count for place, count in kept.items() if place not in weights)
        loss.backward()
    return [p.grad for p in model.parameters()], size


@pytest.mark.parametrize(
    ("name", "family"), [("hf_text", "BERT"), ("timm_image", "ViT"), ("timm_image", "Swin")]
)
def test_recomputing_gives_the_same_gradients_for_less_memory(tmp_path, name, family):
    usual, most = gradients(*model_of(tmp_path / "a", name, family, asked=False))
    found, least = gradients(*model_of(tmp_path / "b", name, family, asked=True))
    assert least < 0.7 * most
    for one, other in zip(usual, found, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "family"), [("hf_text", "BERT"), ("timm_image", "ViT")])
def test_it_ends_with_training(tmp_path, name, family):
    model, config, _ = model_of(tmp_path, name, family, asked=True)
    backbone = model.encoders[name].model

    def is_on():
        return getattr(backbone, "grad_checkpointing", False) or any(
            getattr(module, "gradient_checkpointing", False) for module in backbone.modules()
        )

    with checkpointing(model, config):
        assert is_on()
    assert not is_on()


def test_a_backbone_that_cannot_is_named(tmp_path):
    model, config, _ = model_of(tmp_path, "hf_text", "BERT", asked=True)
    model.encoders["hf_text"].model = torch.nn.Linear(1, 1)
    with (
        pytest.raises(ConfigError, match=r"model\.hf_text\.gradient_checkpointing.*Linear cannot"),
        checkpointing(model, config),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_of_memory_are_told_from_others(error, is_one):
    assert is_out_of_memory(error) == is_one
