import pytest

pytest.importorskip("torch")

import msgspec
import torch

from automm.config.schema import HfTextOptions
from automm.models.encoders import hf_text
from automm_serve.errors import ConfigError
from automm_serve.processors import AnyProcessor, TextProcessor
from automm_serve.schema import Column
from tests.tiny_models import TEXT_FAMILIES, WORDS, make_text_model

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


def test_of_a_t5_the_encoder_alone_is_there_and_its_tokens_are_averaged(tmp_path):
    from transformers import T5EncoderModel

    folder = make_text_model(tmp_path / "text", "T5 encoder", spread=True)
    _, encoder, tensors = build(folder, ["a red cat", ""])
    assert not any("decoder" in name for name in encoder.state_dict())
    assert encoder.pooling == "mean"  # no token stands before a text
    model = T5EncoderModel.from_pretrained(folder).eval()
    ids, mask = tensors["hf_text_ids"].long(), tensors["hf_text_mask"].long()
    assert mask.sum(1).tolist() == [4, 1]  # three words and </s>; </s> alone
    with torch.no_grad():
        states = model(input_ids=ids, attention_mask=mask).last_hidden_state
        features = encoder(tensors)["features"]
    torch.testing.assert_close(features[0], states[0, :4].mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features[1], states[1, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_every_weight_lies_in_a_block_and_the_first_holds_what_reads_tokens(family, tmp_path):
    _, encoder, _ = build(make_text_model(tmp_path / "text", family), ["a"])
    inside = {id(p): number for number, b in enumerate(encoder.blocks) for p in b.parameters()}
    assert set(inside) == {id(p) for p in encoder.parameters()}
    assert len(encoder.blocks) == 3
    places = {inside[id(p)] for n, p in encoder.named_parameters() if "word_emb" in n}
    assert places <= {0}


@pytest.mark.parametrize("kind", ["T5 encoder", "DeBERTa-v3"])
def test_a_checkpoint_with_a_sentencepiece_file_alone_is_read(kind, tmp_path):
    """The hub's T5 and DeBERTa-v3 have no tokenizer.json: transformers converts it."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = make_text_model(tmp_path / "text", kind)
    for file in folder.glob("*token*"):
        file.unlink()
    corpus = [f"{a} {b} and a {c}" for a in WORDS.split() for b in "xyz" for c in WORDS.split()]
    named = {"T5 encoder": "spiece", "DeBERTa-v3": "spm"}[kind]
    special: dict[str, int | str] = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    if kind == "DeBERTa-v3":
        special |= {"eos_id": 2, "unk_id": 3, "bos_id": 1}
        special |= {"pad_piece": "[PAD]", "bos_piece": "[CLS]"}
        special |= {"eos_piece": "[SEP]", "unk_piece": "[UNK]"}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_prefix=str(folder / named),
        vocab_size=48,
        hard_vocab_limit=False,
        minloglevel=2,
        **special,
    )
    (folder / f"{named}.vocab").unlink()
    names = {"T5 encoder": "T5Tokenizer", "DeBERTa-v3": "DebertaV2Tokenizer"}
    settings = {"tokenizer_class": names[kind], "model_max_length": 64}
    (folder / "tokenizer_config.json").write_bytes(msgspec.json.encode(settings))
    options = HfTextOptions(checkpoint_name=str(folder))
    processor = hf_text.fit("hf_text", {"t": ["a"]}, COLUMNS, options)
    again = msgspec.json.decode(msgspec.json.encode(processor), type=AnyProcessor)
    assert isinstance(again, TextProcessor)
    assert bool(again.start) is (kind == "DeBERTa-v3")
    ids = again.transform({"t": ["the red cat"]})[0]["hf_text_ids"]
    from transformers import AutoTokenizer

    expected = AutoTokenizer.from_pretrained(folder)("the red cat")["input_ids"]
    assert ids[0, : len(expected)].tolist() == expected


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = make_text_model(tmp_path / "text")
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if "layer.1.attention" in name)
    kept = {name: tensor for name, tensor in weights.items() if name != gone}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=f"lacks 1 weights of a BertModel: {gone}"):
        build(folder, ["a"])
