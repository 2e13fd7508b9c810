import itertools
import json
import subprocess
import sys
import warnings

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from safetensors import safe_open

from automm.config.overrides import override
from automm.config.schema import Config
from automm.models.encoders import find_encoder, options_of
from automm.models.fused import build_fused
from automm.predictor import MultiModalPredictor
from automm.training.peft import METHODS, adapt, merge
from automm.training.soup import BestStates, average, put_state, take_state
from automm_serve.answers import ClassesAnswer
from automm_serve.bundle import load
from automm_serve.errors import ConfigError
from automm_serve.schema import Column
from automm_serve.tensors import Table
from tests.automm.training.running import TYPES, settings, table
from tests.pets import picture
from tests.tiny_models import make_image_model, make_text_model

pytest.importorskip("peft")  # behind what makes transformers importable

ANSWER = ClassesAnswer("y", ("a", "b"))
WIDTH, RANK = 16, 4
TEXTS = {"t": ["a red cat", "blue dog", "new old house"]}


def build(folder, *, text="BERT", image=None, **changes):
    names, encoders = [], {}
    given = {"optim.lora.r": RANK, "model.hf_text.max_text_len": 16, **changes}
    if text:
        names.append("hf_text")
        given["model.hf_text.checkpoint_name"] = str(make_text_model(folder / "t", text))
    if image:
        names.append("timm_image")
        given["model.timm_image.checkpoint_name"] = str(make_image_model(folder / "i", image))
    config = override(Config(), given)
    cells: Table = {
        **TEXTS,
        "p": [picture((200, 10, 10)), picture((10, 200, 10)), picture((9, 9, 200))],
    }
    for name in names:
        column = Column("t", "text") if name == "hf_text" else Column("p", "image")
        encoders[name] = find_encoder(name).fit(name, cells, [column], options_of(config, name))
    model = build_fused(list(encoders.values()), ANSWER, config)
    feed: dict[str, torch.Tensor] = {}
    for processor in encoders.values():
        feed |= {k: torch.from_numpy(v) for k, v in processor.transform(cells)[0].items()}
    return model, config, feed


def trained_names(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def count(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_only_what_is_named_trains(tmp_path, name):
    plain, config, _ = build(tmp_path / "plain")
    biases = sum(p.numel() for n, p in plain.encoders.named_parameters() if n.endswith("bias"))
    norms = sum(
        p.numel() for n, p in plain.encoders.named_parameters() if n.endswith("LayerNorm.weight")
    )
    head = sum(p.numel() for p in plain.head.parameters())
    layers = 2 * 2  # query and value of two layers
    method = METHODS[name]
    wanted = head
    wanted += layers * RANK * 2 * WIDTH if method.lora else 0
    wanted += layers * WIDTH if method.ia3 else 0
    wanted += biases if method.biases else 0
    wanted += norms if method.norms else 0
    model, config, _ = build(tmp_path / "model", **{"optim.peft": name})
    assert not adapt(model, config.optim)
    assert count(model) == wanted
    assert count(plain) > 3 * wanted or method.biases


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("DistilBERT", {"q_lin", "v_lin"}),
        ("DeBERTa-v3", {"query_proj", "value_proj"}),
        ("T5 encoder", {"q", "k", "v", "o"}),
        ("ModernBERT", {"Wqkv"}),
    ],
)
def test_the_projections_of_each_text_family_are_found(tmp_path, family, names):
    model, config, _ = build(tmp_path, text=family, **{"optim.peft": "lora"})
    adapt(model, config.optim)
    adapted = {
        n.split(".lora_A")[0].rpartition(".")[2] for n in trained_names(model) if "lora_A" in n
    }
    assert adapted == names


@pytest.mark.parametrize("family", ["ViT", "Swin"])
@pytest.mark.parametrize("name", ["lora", "ia3", "ia3_lora"])
def test_the_projections_of_transformers_for_pictures_are_found(tmp_path, family, name):
    model, config, feed = build(tmp_path, text=None, image=family, **{"optim.peft": name})
    adapt(model, config.optim)
    assert {n.split(".qkv.")[0] for n in trained_names(model) if ".qkv." in n}
    check_merging(model, feed, product="lora" in name)


def check_merging(model, feed, product):
    """Three states of random adapters: each merged answers as it did, a soup is their average."""
    best = BestStates(model, 3, lambda new, old: new > old)
    draw = torch.Generator().manual_seed(0)
    answers, adapters = [], []
    for score in (3, 2, 1):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name or "ia3_" in name:
                    parameter.normal_(mean=1.0 if "ia3_" in name else 0.0, generator=draw)
        best.offer(score)
        adapters.append(take_state(model))
        answers.append(model.eval()(feed)["logits"].detach())
    put_state(model, average(adapters))
    of_averages = model(feed)["logits"].detach()
    merge(model, best)
    assert not [n for n, _ in model.named_modules() if "lora" in n or "ia3" in n or "base" in n]
    for place, answer in enumerate(answers):
        put_state(model, best.load(place))
        torch.testing.assert_close(model(feed)["logits"], answer, rtol=1e-4, atol=5e-5)
    # The controls: the states differ, and to merge an average is something else.
    for one, other in itertools.combinations(answers, 2):
        assert not torch.allclose(one, other, atol=1e-4)
    put_state(model, average([best.load(place) for place in range(3)]))
    assert torch.allclose(model(feed)["logits"], of_averages, atol=1e-4) != product


@pytest.mark.parametrize("family", ["BERT", "T5 encoder"])
@pytest.mark.parametrize("name", ["lora", "ia3", "ia3_lora", "ia3_lora_norm", "lora_bias"])
def test_what_is_merged_answers_as_what_was_adapted(tmp_path, family, name):
    model, config, feed = build(tmp_path, text=family, **{"optim.peft": name})
    adapt(model, config.optim)
    check_merging(model, feed, product="lora" in name)


def test_frozen_blocks_are_not_adapted(tmp_path):
    model, config, _ = build(
        tmp_path, **{"optim.peft": "lora_norm", "model.hf_text.frozen_blocks": 2}
    )
    adapt(model, config.optim)
    found = [n for n in trained_names(model) if n.startswith("encoders")]
    assert found
    assert all("layer.1." in n for n in found)


def test_further_parameters_are_named_by_patterns(tmp_path):
    extra = {"optim.peft": "bit_fit", "optim.extra_trainable_params": ["word_embeddings"]}
    model, config, _ = build(tmp_path, **extra)
    adapt(model, config.optim)
    others = {n for n in trained_names(model) if not n.endswith("bias") and "head" not in n}
    assert {n.rpartition(".embeddings.")[2] for n in others} == {"word_embeddings.weight"}


def test_a_path_can_be_asked_for(tmp_path):
    only = {"optim.peft": "lora", "optim.lora.module_filter": [".*layer.1"]}
    model, config, _ = build(tmp_path, **only)
    adapt(model, config.optim)
    assert all("layer.1." in n for n in trained_names(model) if n.startswith("encoders"))


def test_a_tower_without_such_layers_is_said_and_a_model_without_is_refused(tmp_path):
    model, config, _ = build(tmp_path / "a", image="EfficientNet", **{"optim.peft": "lora"})
    assert adapt(model, config.optim) == ["timm_image"]
    alone = build(tmp_path / "b", text=None, image="EfficientNet", **{"optim.peft": "lora"})
    with pytest.raises(ConfigError, match=r"nothing in timm_image has a name of optim\.lora\.fil"):
        adapt(alone[0], alone[1].optim)


def test_what_comes_with_segmentation_is_refused(tmp_path):
    model, config, _ = build(tmp_path, **{"optim.peft": "conv_lora"})
    with pytest.raises(ConfigError, match="come with segmentation"):
        adapt(model, config.optim)


def test_an_adapted_fit_is_saved_and_exported_as_plain_weights(tmp_path):
    given = settings(tmp_path, optim__peft="ia3_lora_bias", model__hf_text__frozen_blocks=0)
    predictor = MultiModalPredictor(label="kind", path=tmp_path / "p", verbosity=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictor.fit(table(), hyperparameters=given, column_types=TYPES)
    assert predictor.trainable_parameters < predictor.total_parameters
    with safe_open(tmp_path / "p" / "model.safetensors", "pt") as file:
        names = list(file.keys())
    assert not [n for n in names if "lora" in n or "ia3" in n or "base_layer" in n]
    rows = {name: cells for name, cells in table(9, seed=5).items() if name != "kind"}
    answers = predictor.predict_proba(rows)
    predictor.export(tmp_path / "bundle")
    np.testing.assert_allclose(load(tmp_path / "bundle").predict_proba(rows), answers, atol=1e-5)
    # Neither the checkpoint nor the library is asked for.
    (tmp_path / "text").rename(tmp_path / "gone")
    code = (
        "import sys; sys.modules['peft'] = None\n"
        "from automm.predictor import MultiModalPredictor\n"
        f"p = MultiModalPredictor.load({str(tmp_path / 'p')!r}, verbosity=0)\n"
        f"print(p.predict_proba({rows!r}).ravel().tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = np.array(json.loads(done.stdout.strip().splitlines()[-1]))
    np.testing.assert_allclose(found, np.asarray(answers).ravel(), atol=1e-6)
