"""Tokenizers of every kind that the families of ``tiny_models`` have, with a few words each."""

from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WORDS = "the a red blue green small large cat dog house car good bad very old new of and in on"
PLACES = 64


def write_tokenizer(folder: Path, kind: str, limit: int = PLACES) -> int:
    """Write the tokenizer that a family has, with a few words, and return how many tokens."""
    from automm.models.encoders.torchvision_stub import declare_missing_operators

    declare_missing_operators()
    from transformers import PreTrainedTokenizerFast

    tokenizer, names = _TOKENIZERS[kind]()
    settings = {**names, "model_max_length": limit}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings).save_pretrained(folder)
    return tokenizer.get_vocab_size()


def _wordpiece() -> tuple[Tokenizer, dict[str, str]]:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    letters = [*string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS.split(), *letters]
    tokenizer = Tokenizer(WordPiece(_numbered(tokens), unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # Pads by itself, as the packaged MiniLM does.
    tokenizer.enable_padding(length=48)
    return tokenizer, _BERT_TOKENS


def _bytes() -> tuple[Tokenizer, dict[str, str]]:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.processors import TemplateProcessing

    tokens = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet())]
    tokenizer = Tokenizer(BPE(_numbered(tokens), [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=True)
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "cls_token": "<s>", "sep_token": "</s>", "eos_token": "</s>"}
    return tokenizer, names | {"pad_token": "<pad>", "unk_token": "<unk>"}


def _unigram() -> tuple[Tokenizer, dict[str, str]]:
    from tokenizers.processors import TemplateProcessing

    tokenizer = _pieces(["[PAD]", "[CLS]", "[SEP]", "[UNK]"], "[UNK]")
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer, _BERT_TOKENS


def _t5() -> tuple[Tokenizer, dict[str, str]]:
    from tokenizers.processors import TemplateProcessing

    tokenizer = _pieces(["<pad>", "</s>", "<unk>"], "<unk>")
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer, {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


def _clip() -> tuple[Tokenizer, dict[str, str]]:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    start, end = "<|startoftext|>", "<|endoftext|>"
    letters = string.ascii_lowercase + string.digits
    tokens = [start, end, *letters, *(f"{c}</w>" for c in letters)]
    model = BPE(_numbered(tokens), [], unk_token=end, end_of_word_suffix="</w>")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, 0), (end, 1)]
    )
    names = {"bos_token": start, "eos_token": end, "pad_token": end, "unk_token": end}
    return tokenizer, names


def _pieces(special: list[str], unknown: str) -> Tokenizer:
    """A unigram model as sentencepiece trains it."""
    from tokenizers import Tokenizer
    from tokenizers.models import Unigram
    from tokenizers.pre_tokenizers import Metaspace

    pieces = [(token, 0.0) for token in special]
    pieces += [(f"▁{word}", -2.0) for word in WORDS.split()]
    pieces += [(letter, -6.0) for letter in ["▁", *string.ascii_lowercase]]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=special.index(unknown)))
    tokenizer.pre_tokenizer = Metaspace()
    return tokenizer


def _numbered(tokens: list[str]) -> dict[str, int]:
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}


_BERT_TOKENS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
_BERT_TOKENS |= {"sep_token": "[SEP]"}
_TOKENIZERS = {
    "wordpiece": _wordpiece,
    "bytes": _bytes,
    "unigram": _unigram,
    "t5": _t5,
    "clip": _clip,
}
