"""Checkpoints of a few kilobytes, made from configurations: local folders, nothing downloaded.

Every family of ``TEXT_FAMILIES`` and ``IMAGE_FAMILIES`` is its real architecture with two layers or
so. ``spread=True`` draws weights by their fan-in: with the small ones that libraries begin with, a
random model answers nearly alike whatever it is asked, and a comparison of its answers is blind.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tests.tiny_tokenizers import PLACES, WORDS, write_tokenizer

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "IMAGE_FAMILIES",
    "PLACES",
    "TEXT_FAMILIES",
    "WORDS",
    "make_clip_model",
    "make_image_model",
    "make_text_model",
    "write_tokenizer",
]

_BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": PLACES,
}
_DEBERTA = _BERT | {
    "relative_attention": True,
    "position_buckets": 16,
    "pos_att_type": ["p2c", "c2p"],
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
    "type_vocab_size": 0,
    "pad_token_id": 0,
}
TEXT_FAMILIES: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "BERT": ("bert", "wordpiece", _BERT),
    "ELECTRA": ("electra", "wordpiece", _BERT | {"embedding_size": 8}),
    "RoBERTa": (
        "roberta",
        "bytes",
        _BERT | {"max_position_embeddings": PLACES + 2, "pad_token_id": 1, "type_vocab_size": 1},
    ),
    "MPNet": (
        "mpnet",
        "bytes",
        _BERT | {"max_position_embeddings": PLACES + 2, "pad_token_id": 1},
    ),
    "DistilBERT": (
        "distilbert",
        "wordpiece",
        {
            "dim": 16,
            "n_layers": 2,
            "n_heads": 2,
            "hidden_dim": 32,
            "max_position_embeddings": PLACES,
        },
    ),
    "DeBERTa-v2": ("deberta-v2", "unigram", _DEBERTA | {"conv_kernel_size": 3, "conv_act": "gelu"}),
    "DeBERTa-v3": ("deberta-v2", "unigram", _DEBERTA),
    "ModernBERT": (
        "modernbert",
        "wordpiece",
        _BERT
        | {"local_attention": 16, "global_attn_every_n_layers": 2}
        | {"pad_token_id": 0, "cls_token_id": 2, "bos_token_id": 2}
        | {"sep_token_id": 3, "eos_token_id": 3},
    ),
    "T5 encoder": (
        "t5",
        "t5",
        {
            "d_model": 16,
            "d_kv": 8,
            "d_ff": 32,
            "num_layers": 2,
            "num_heads": 2,
            "relative_attention_num_buckets": 16,
            "feed_forward_proj": "gated-gelu",
        },
    ),
}
"""Family -> the name that transformers has for its architecture, tokenizer, configuration."""

IMAGE_FAMILIES: Mapping[str, tuple[str, int, bool, dict[str, Any]]] = {
    "ViT": (
        "vit_tiny_patch16_224",
        32,
        True,
        {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
    ),
    "Swin": (
        "swin_tiny_patch4_window7_224",
        64,
        True,
        {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4},
    ),
    "SwinV2": (
        "swinv2_tiny_window8_256",
        64,
        True,
        {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4},
    ),
    "CaFormer": ("test_caformer", 64, False, {}),
    "ConvNeXt": ("test_convnext", 64, False, {}),
    "EVA-02": (
        "eva02_tiny_patch14_224",
        32,
        True,
        {
            "patch_size": 8,
            "embed_dim": 32,
            "depth": 2,
            "num_heads": 2,
            "ref_feat_shape": [4, 4],
        },
    ),
    "MobileNetV3": ("mobilenetv3_small_050", 64, False, {}),
    "EfficientNet": ("test_efficientnet", 32, False, {}),
    "ResNet": ("test_resnet", 64, False, {}),
}
"""Family -> timm's architecture, height and width, whether these are fixed, its arguments."""


def make_text_model(
    folder: Path, family: str = "BERT", *, mean_pooling: bool = False, spread: bool = False
) -> Path:
    """Write a checkpoint of two layers and width 16, as transformers' ``save_pretrained`` does."""
    import torch

    from automm.models.encoders.torchvision_stub import declare_missing_operators

    declare_missing_operators()  # else transformers cannot be imported on a CPU torch
    from transformers import AutoConfig, AutoModel

    kind, tokenizer_kind, settings = TEXT_FAMILIES[family]
    vocabulary = write_tokenizer(folder, tokenizer_kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, vocab_size=vocabulary, **settings)
        build: Any = AutoModel.from_config
        model = build(config)
        if spread:
            spread_weights(model)
        model.save_pretrained(folder)
    if mean_pooling:
        pooling = folder / "1_Pooling" / "config.json"
        pooling.parent.mkdir()
        pooling.write_bytes(b'{"pooling_mode_mean_tokens": true}')
    return folder


def make_image_model(folder: Path, family: str = "EfficientNet", *, spread: bool = False) -> Path:
    """Write a model as timm's ``save_for_hf`` does; the default is the one timm has for tests."""
    import torch
    from safetensors.torch import save_file

    from automm.models.encoders.torchvision_stub import declare_missing_operators

    declare_missing_operators()  # else timm cannot be imported on a CPU torch
    from timm import create_model

    register_caformer()
    architecture, size, is_fixed, arguments = IMAGE_FAMILIES[family]
    extra: dict[str, Any] = {"img_size": size} if is_fixed else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model(architecture, num_classes=3, **arguments, **extra)
        if spread:
            spread_weights(model)
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.momentum = None  # the statistics of one batch are all it will have seen
            colours = torch.randn(32, 3, 1, 1) + 0.3 * torch.randn(32, 3, size, size)
            model.train()(1.5 * colours)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    known: Any = model.pretrained_cfg  # a dict of timm's
    content = {
        "architecture": architecture,
        "num_classes": 3,
        "num_features": model.num_features,
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": [3, size, size],
            "fixed_input_size": is_fixed,
            "mean": [0.5, 0.4, 0.3],
            "std": [0.2, 0.2, 0.3],
            "interpolation": "bicubic",
            "num_classes": 3,
            "first_conv": known.get("first_conv"),
            "classifier": known.get("classifier"),
        },
    }
    (folder / "config.json").write_bytes(msgspec.json.encode(content))
    return folder


def make_clip_model(folder: Path, *, spread: bool = False) -> Path:
    """Write a CLIP whose towers have two layers, with its tokenizer and preprocessor."""
    import torch

    from automm.models.encoders.torchvision_stub import declare_missing_operators

    declare_missing_operators()
    from transformers import CLIPConfig, CLIPModel

    vocabulary = write_tokenizer(folder, "clip")
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    tower |= {"num_attention_heads": 2, "projection_dim": 12}
    words = {"vocab_size": vocabulary, "max_position_embeddings": PLACES}
    words |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPModel(
            CLIPConfig(
                text_config=tower | words,
                vision_config=tower | {"image_size": 32, "patch_size": 8},
                projection_dim=12,
            )
        )
        if spread:
            spread_weights(model)
        model.save_pretrained(folder)
    statistics = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    (folder / "preprocessor_config.json").write_bytes(msgspec.json.encode(statistics))
    return folder


def spread_weights(model: nn.Module) -> None:
    """Draw weights by their fan-in, so that answers vary with what is asked."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                is_table = "embed" in name and "patch" not in name and "project" not in name
                parameter.normal_(std=1.0 if is_table else fan_in**-0.5)
            elif name.endswith("bias"):
                parameter.normal_(std=0.1)
            elif parameter.dim() == 1:
                parameter.normal_(mean=1.0, std=0.1)


def register_caformer() -> None:
    """Teach timm a CaFormer of four blocks: its own take no smaller depth as an argument."""
    from timm.models import is_model, metaformer, register_model

    if is_model("test_caformer"):
        return

    def test_caformer(pretrained: bool = False, **kwargs: Any) -> Any:
        return metaformer._create_metaformer(
            "caformer_s18",
            pretrained=pretrained,
            depths=[1, 1, 1, 1],
            dims=[16, 16, 32, 32],
            token_mixers=[metaformer.SepConv] * 2 + [metaformer.Attention] * 2,
            norm_layers=[metaformer.LayerNorm2dNoBias] * 2 + [metaformer.LayerNormNoBias] * 2,
            **kwargs,
        )

    register_model(test_caformer)
