"""Checkpoints of a few kilobytes, made from configurations: local folders, nothing downloaded."""

from __future__ import annotations

from pathlib import Path

import msgspec

WORDS = "the a red blue green small large cat dog house car good bad very old new of and in on"


def make_text_model(folder: Path, *, mean_pooling: bool = False) -> Path:
    """Write a BERT of two layers and width 16, as transformers' ``save_pretrained`` does."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    from automm.models.encoders.torchvision_stub import declare_missing_operators

    declare_missing_operators()  # else transformers cannot be imported on a CPU torch
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS.split(), *letters]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # Pads by itself, as the packaged MiniLM does.
    tokenizer.enable_padding(length=48)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    ).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(
            BertConfig(
                vocab_size=len(vocabulary),
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=64,
            )
        ).save_pretrained(folder)
    if mean_pooling:
        pooling = folder / "1_Pooling" / "config.json"
        pooling.parent.mkdir()
        pooling.write_bytes(b'{"pooling_mode_mean_tokens": true}')
    return folder


def make_image_model(folder: Path) -> Path:
    """Write the EfficientNet that timm has for tests, as timm's ``save_for_hf`` does."""
    import torch
    from safetensors.torch import save_file

    from automm.models.encoders.torchvision_stub import declare_missing_operators

    declare_missing_operators()  # else timm cannot be imported on a CPU torch
    from timm import create_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model("test_efficientnet", num_classes=3)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    content = {
        "architecture": "test_efficientnet",
        "num_classes": 3,
        "num_features": model.num_features,
        "pretrained_cfg": {
            "input_size": [3, 32, 32],
            "fixed_input_size": False,
            "mean": [0.5, 0.4, 0.3],
            "std": [0.2, 0.2, 0.3],
            "interpolation": "bicubic",
            "num_classes": 3,
            "first_conv": "conv_stem",
            "classifier": "classifier",
        },
    }
    (folder / "config.json").write_bytes(msgspec.json.encode(content))
    return folder
