"""Texts -> token ids, without work that cannot show in them.

A tokenizer takes most of the time of a row of texts and numbers. Two things spare it: a short text
that was seen lately (tables repeat titles, divisions, addresses; training repeats all of them) is
looked up, and a long one is read only as far as its first ``limit`` tokens need. The ids are the
same as without either.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

REMEMBERED = 1 << 18
"""Most characters and ids remembered in each of two generations: about 10 MB together."""
SHORT = 256
"""Texts of more characters seldom come twice."""
READ_AT_ONCE = 8
"""Characters read for each token that is wanted; a token of English has five."""
LONGEST = 64
"""Characters a token at most: beyond that only the time of a hostile text is spent."""

_SPLIT_AT_SPACES = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
_SPLIT_FURTHER = {"Punctuation", "Digits", "UnicodeScripts", "CharDelimiterSplit"}
_LOCAL = {"BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents"}
_LOCAL |= {"Precompiled", "Prepend", "Strip"}
"""Normalizers that leave a letter or digit of ASCII before a space in its place, and the space."""


class Tokens:
    """The first ids of texts.

    Args:
        tokenizer: Without padding and truncation of its own.
        limit: Most ids of a text.
    """

    def __init__(self, tokenizer: Tokenizer, limit: int) -> None:
        self._tokenizer = tokenizer
        self._limit = limit
        self._can_cut = _splits_at_spaces(json.loads(tokenizer.to_str()))
        # Two generations: the older is forgotten when the younger is full, and what is asked of
        # it again lives on. A dictionary's steps are atomic, so threads may share them.
        self._young: dict[str, list[int]] = {}
        self._old: dict[str, list[int]] = {}
        self._weight = 0

    @property
    def count(self) -> int:
        """One more than the largest id in the tokenizer."""
        return 1 + max(self._tokenizer.get_vocab().values(), default=0)

    def read(self, texts: Sequence[str]) -> list[list[int]]:
        """Return at most ``limit`` ids of each text, without the special ones."""
        found: dict[str, list[int]] = {}
        new = []
        young, old = self._young, self._old
        for text in dict.fromkeys(texts):
            ids = young.get(text)
            if ids is None:
                ids = old.get(text)
                if ids is None:
                    new.append(text)
                    continue
                self._remember(text, ids)
            found[text] = ids
        if new:
            for text, ids in zip(new, self._tokenise(new), strict=True):
                found[text] = ids
                if len(text) <= SHORT:
                    self._remember(text, ids)
        return [found[text] for text in texts]

    def _remember(self, text: str, ids: list[int]) -> None:
        self._weight += len(text) + len(ids)
        if self._weight > REMEMBERED:
            self._old, self._young, self._weight = self._young, {}, len(text) + len(ids)
        self._young[text] = ids

    def _tokenise(self, texts: list[str]) -> list[list[int]]:
        starts = [self._start(text) for text in texts]
        read = self._encode(starts)
        short = [
            i
            for i, ids in enumerate(read)
            if len(ids) < self._limit and len(starts[i]) < len(texts[i])
        ]
        if short:
            whole = self._encode([texts[i][: LONGEST * self._limit] for i in short])
            for i, ids in zip(short, whole, strict=True):
                read[i] = ids
        return [ids[: self._limit] for ids in read]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _start(self, text: str) -> str:
        """The words that probably hold the first ``limit`` tokens, or the whole text.

        It ends behind a letter or digit of ASCII and before a space, which no normalizer moves or
        takes away, and where the text is split whatever follows; so its tokens are the first ones
        of the text.
        """
        at = READ_AT_ONCE * self._limit
        while self._can_cut and 0 < (at := text.find(" ", at)) < LONGEST * self._limit:
            if text[at - 1].isascii() and text[at - 1].isalnum():
                return text[:at]
            at += 1
        return text[: LONGEST * self._limit]


def _splits_at_spaces(tokenizer: dict[str, Any]) -> bool:
    """Whether no token reaches over a space; where that is not certain, no."""
    if not all(map(_keeps_spaces, _steps(tokenizer["normalizer"], "normalizers"))):
        return False
    if any(_may_reach_over(added["content"]) for added in tokenizer["added_tokens"]):
        return False
    steps = _steps(tokenizer["pre_tokenizer"], "pretokenizers")
    splits = [step["type"] in _SPLIT_AT_SPACES or _words_begin_with_space(step) for step in steps]
    return any(splits) and all(
        known or step["type"] in _SPLIT_FURTHER for known, step in zip(splits, steps, strict=True)
    )


def _steps(found: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    if found is None:
        return []
    if found["type"] == "Sequence":
        return [step for each in found[name] for step in _steps(each, name)]
    return [found]


def _keeps_spaces(step: dict[str, Any]) -> bool:
    if step["type"] == "Replace":
        return (step["pattern"], step["content"]) == ({"Regex": " {2,}"}, " ")
    return step["type"] in _LOCAL


def _may_reach_over(content: str) -> bool:
    """Whether an added token has a space, or what a normalizer makes one, behind another sign."""
    plain = unicodedata.normalize("NFKC", content)
    return any(sign.isspace() for sign in plain.lstrip())


def _words_begin_with_space(step: dict[str, Any]) -> bool:
    match step["type"]:
        case "ByteLevel":
            return bool(step.get("use_regex", True))
        case "Metaspace":
            return bool(step.get("split", True))
    return False
