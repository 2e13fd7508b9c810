"""What is looked up or left unread does not show in the ids."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from automm_serve.processors import tokens as module
from automm_serve.processors.tokens import READ_AT_ONCE, Tokens

LIMIT = 4
LETTERS = "abé#'5İ漢\u00b4\u00a8\u200b\ufeff▁"
SPACES = " \t\n\x1c\u00a0\u2003"
TEXTS = st.lists(
    st.text(LETTERS + SPACES, max_size=60) | st.text(max_size=20) | st.sampled_from(["a b", "<x>"]),
    max_size=4,
).map("".join)


def _bert() -> Tokenizer:
    pieces = {"[UNK]": 0, "a": 1, "b": 2, "##a": 3, "##b": 4, "#": 5, "'": 6, "i": 7, "5": 8}
    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["<x>"])
    return tokenizer


def _bytes() -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    codes = {letter: code for code, letter in enumerate([*letters, "ab", "Ġa"])}
    tokenizer = Tokenizer(models.BPE(codes, [("a", "b"), ("Ġ", "a")]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def _unigram(split: bool = True) -> Tokenizer:
    pieces = [("<unk>", 0.0), ("▁", -2.0), ("a", -1.0), ("b", -1.5), ("▁a", -1.0), ("a▁b", -0.1)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=split)
    return tokenizer


def _deberta() -> Tokenizer:
    """Accents become spaces, and runs of these one; the word behind the run begins with it."""
    tokenizer = _unigram()
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Nmt(),
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    return tokenizer


def _with(token: str) -> Tokenizer:
    tokenizer = _bert()
    tokenizer.add_tokens([token])
    return tokenizer


def _without_spaces() -> Tokenizer:
    tokenizer = _bert()
    tokenizer.normalizer = normalizers.Replace(" ", "")
    return tokenizer


def _whole() -> Tokenizer:
    tokenizer = _unigram()
    tokenizer.pre_tokenizer = None
    return tokenizer


def _in_steps() -> Tokenizer:
    tokenizer = _bert()
    steps = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return tokenizer


KINDS = {
    "bert": (_bert, True),
    "bytes": (_bytes, True),
    "unigram": (_unigram, True),
    "in steps": (_in_steps, True),
    "deberta": (_deberta, True),
    "a token with a space": (lambda: _with("a b"), False),
    "a token that ends with a space": (lambda: _with("a "), False),
    "a token with what becomes a space": (lambda: _with("a\u00a0b"), False),
    "spaces are taken out": (_without_spaces, False),
    "pieces over spaces": (lambda: _unigram(split=False), False),
    "no splitting": (_whole, False),
}


@cache
def read(kind: str) -> tuple[Tokenizer, Tokens]:
    """A tokenizer, and what keeps it from reading all, shared by the examples of a test."""
    tokenizer = KINDS[kind][0]()
    return tokenizer, Tokens(tokenizer, LIMIT)


@pytest.mark.parametrize("kind", KINDS)
@given(texts=st.lists(TEXTS, max_size=6))
def test_the_ids_are_the_first_ones_of_the_whole_text(kind, texts):
    tokenizer, tokens = read(kind)
    encoded = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    for _ in range(2):  # the second time from memory
        assert tokens.read(texts) == [each.ids[:LIMIT] for each in encoded]


class Counting(Tokens):
    """Counts the characters that its tokenizer is given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer, LIMIT)
        self.characters = 0

    def _encode(self, texts: list[str]) -> list[list[int]]:
        self.characters += sum(map(len, texts))
        return super()._encode(texts)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_text_is_read_as_far_as_its_tokens_need_where_that_is_certain(kind):
    make, certain = KINDS[kind]
    tokens = Counting(make())
    tokens.read(["ab " * 80])
    assert (tokens.characters <= READ_AT_ONCE * LIMIT + 3) is certain


def test_where_the_words_are_long_the_whole_text_is_read_after_all():
    tokens, text = Counting(_bert()), "c" * 90 + " a b"  # unknown: one token
    assert tokens.read([text]) == [[0, 1, 2]]
    assert tokens.characters == 90 + len(text)


def test_a_text_that_comes_again_is_looked_up():
    tokens = Counting(_bert())
    assert tokens.read(["a b", "b", "a b"]) == [[1, 2], [2], [1, 2]]
    assert tokens.read(["b", "a b"]) == [[2], [1, 2]]
    assert tokens.characters == len("a b") + len("b")


def test_memory_is_bounded_and_keeps_what_is_asked_for(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 40)
    tokens = Counting(_bert())
    texts = [f"b {number}" for number in range(200)]
    for text in texts:
        tokens.read(["a", text])
    once = len("a") + sum(map(len, texts))
    assert tokens.characters == once
    assert sum(map(len, (*tokens._young, *tokens._old))) <= 2 * 40
    tokens.read(texts[:1])  # forgotten
    assert tokens.characters == once + len(texts[0])
