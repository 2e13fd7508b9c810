"""The rule by which fields are shortened, written out once more, and compared row by row."""

from __future__ import annotations

from tokenizers import Tokenizer

from automm_serve.pipeline import Pipeline
from automm_serve.processors import TextProcessor
from automm_serve.tensors import Table, count_rows


def text_processor(pipeline: Pipeline) -> TextProcessor:
    """Return the one processor of texts."""
    (found,) = (one for one in pipeline.processors if isinstance(one, TextProcessor))
    return found


def check_shortening(text: TextProcessor, rows: Table) -> list[int]:
    """Compare the ids of every row with the rule's; return which rows were cut."""
    tokenizer = Tokenizer.from_str(bytes(text.tokenizer).decode())
    room = text.limit - len(text.start) - len(text.end)
    room -= len(text.separator) * (len(text.columns) - 1)
    found, errors = text.transform(rows)
    assert errors == []
    cut = []
    for row in range(count_rows(rows)):
        fields = [
            tokenizer.encode(str(cell or ""), add_special_tokens=False).ids
            for cell in (rows[name][row] for name in text.columns)
        ]
        whole = [len(ids) for ids in fields]
        lengths = _shorten(whole, room)
        if lengths != whole:
            cut.append(row)
        wanted = list(text.start)
        for number, (ids, length) in enumerate(zip(fields, lengths, strict=True)):
            wanted += (list(text.separator) if number else []) + ids[:length]
        wanted += text.end
        mask = found[f"{text.name}_mask"][row].astype(bool)
        assert found[f"{text.name}_ids"][row][mask].tolist() == wanted, row
    return cut


def _shorten(lengths: list[int], room: int) -> list[int]:
    """The paper's words: the longest field loses its last token, until all fit; the last first."""
    for _ in range(max(0, sum(lengths) - room)):
        longest = max(range(len(lengths)), key=lambda i: (lengths[i], i))
        lengths = [length - (i == longest) for i, length in enumerate(lengths)]
    return lengths
