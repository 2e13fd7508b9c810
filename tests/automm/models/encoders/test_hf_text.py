import pytest

pytest.importorskip("torch")

import torch

from automm.config.schema import HfTextOptions
from automm.models.encoders import hf_text
from automm_serve.errors import ConfigError
from automm_serve.schema import Column
from tests.tiny_models import make_text_model

COLUMNS = [Column("t", "text")]


def build(folder, texts, **settings):
    options = HfTextOptions(checkpoint_name=str(folder), **settings)
    processor = hf_text.fit("hf_text", {"t": texts}, COLUMNS, options)
    encoder = hf_text.build(processor, options).eval()
    tensors = {k: torch.from_numpy(v) for k, v in processor.transform({"t": texts})[0].items()}
    return processor, encoder, tensors


def test_the_features_are_those_of_transformers_own_pipeline(tmp_path):
    from transformers import AutoModel, AutoTokenizer  # importable once our module has been

    folder = make_text_model(tmp_path / "text", mean_pooling=True)
    texts = ["a red cat", "the very old dog and the new house in a car"]
    _, encoder, tensors = build(folder, texts)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(texts, return_tensors="pt", padding="longest")
    with torch.no_grad():
        features = encoder(tensors)["features"]
        states = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    expected = (states * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("mean", "asked", "pooling"),
    [(True, "auto", "mean"), (False, "auto", "cls"), (True, "cls", "cls"), (False, "mean", "mean")],
)
def test_pooling_is_what_the_checkpoint_was_made_for_unless_asked(tmp_path, mean, asked, pooling):
    folder = make_text_model(tmp_path / "text", mean_pooling=mean)
    _, encoder, _ = build(folder, ["a"], pooling_mode=asked)
    assert encoder.pooling == pooling


def test_the_limit_is_the_least_of_three(tmp_path):
    folder = make_text_model(tmp_path / "text")  # tokenizer and positions: 64
    assert build(folder, ["a"], max_text_len=512)[0].limit == 64
    assert build(folder, ["a"], max_text_len=20)[0].limit == 20


def test_a_folder_with_the_configuration_alone_gives_the_architecture(tmp_path):
    import msgspec

    _, encoder, tensors = build(make_text_model(tmp_path / "text", mean_pooling=True), ["a dog"])
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_bytes(msgspec.json.encode(encoder.backbone))
    options = HfTextOptions(checkpoint_name=str(tmp_path / "bare"), pretrained=False)
    bare = hf_text.build(type("P", (), {"name": "hf_text"})(), options).eval()
    bare.load_state_dict(encoder.state_dict())
    assert bare.pooling == "mean"
    with torch.no_grad():
        assert torch.equal(bare(tensors)["features"], encoder(tensors)["features"])


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be loaded"):
        build(tmp_path, ["a"])
