"""What every answer must do. A new member of the union gets its sample here, and all of this."""

from __future__ import annotations

import re
from typing import get_args

import msgspec
import numpy as np
import pytest
from msgspec import Struct

from automm_serve.answers import (
    Answer,
    AnyAnswer,
    ClassesAnswer,
    EmbeddingAnswer,
    ValuesAnswer,
)
from automm_serve.cells import category_key
from automm_serve.tensors import Tensors


class Sample(Struct, frozen=True):
    """An answer, tensors of a graph for some rows, and labels: the second is bad."""

    answer: AnyAnswer
    tensors: Tensors
    labels: tuple[object, ...] = ()


PROBABILITIES = np.array([[0.2, 0.7, 0.1], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], np.float32)
SAMPLES = [
    Sample(ClassesAnswer("label", ("a", "b", "c")), {"probabilities": PROBABILITIES}, ("a", "z")),
    Sample(ClassesAnswer("label", (1, 2.5, True)), {"probabilities": PROBABILITIES}, ("2.5", 9)),
    Sample(
        ValuesAnswer("worth", 3.0, 2.0),
        {"values": np.array([[1.5], [-2e30], [0]], np.float32)},
        (4, "x"),
    ),
    Sample(EmbeddingAnswer(4), {"features": np.arange(12, dtype=np.float32).reshape(3, 4)}),
]
every_answer = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: type(s.answer).__name__)


def test_every_member_of_the_union_has_a_sample():
    assert {type(sample.answer) for sample in SAMPLES} == set(get_args(AnyAnswer))


@every_answer
def test_it_is_json_and_comes_back_equal_by_its_tag_alone(sample):
    written = msgspec.json.encode(sample.answer)
    again = msgspec.json.decode(written, type=AnyAnswer)
    assert type(again) is type(sample.answer)
    assert again == sample.answer
    assert msgspec.json.encode(again) == written


@every_answer
def test_an_unknown_field_or_tag_is_refused(sample):
    written = msgspec.json.encode(sample.answer)
    for changed in (b'{"surprise":1,' + written[1:], re.sub(b'"type":"', b'"type":"x', written)):
        assert changed != written
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(changed, type=AnyAnswer)


@every_answer
def test_it_reads_the_tensors_that_it_names_and_no_others(sample):
    answer: Answer = sample.answer
    assert set(answer.reads) == set(sample.tensors)
    with_more = {**sample.tensors, "other": np.zeros(3)}
    assert repr(answer.decode(with_more)) == repr(answer.decode(sample.tensors))


@every_answer
def test_it_gives_the_columns_that_it_names_one_cell_a_row(sample):
    found = sample.answer.decode(sample.tensors)
    assert list(found) == [column.name for column in sample.answer.columns]
    for column in sample.answer.columns:
        assert len(found[column.name]) == 3
        for cell in found[column.name]:
            if column.kind == "number":
                assert type(cell) is float
            elif column.kind == "vector":
                assert cell.dtype == np.float32
                assert cell.shape == (column.width,)
            else:
                assert column.kind in ("text", "json")
    nothing = sample.answer.decode({name: array[:0] for name, array in sample.tensors.items()})
    assert nothing == {column.name: [] for column in sample.answer.columns}


@every_answer
def test_a_row_alone_is_answered_as_in_the_batch(sample):
    whole = sample.answer.decode(sample.tensors)
    for row in range(3):
        alone = sample.answer.decode(
            {name: array[row : row + 1] for name, array in sample.tensors.items()}
        )
        for name, cells in alone.items():
            np.testing.assert_array_equal(cells[0], whole[name][row])


@every_answer
def test_a_bad_label_is_named_and_its_neighbours_keep_their_targets(sample):
    if not sample.labels:
        assert sample.answer.encode({}, {}) == ({}, [])
        return
    label = sample.answer.columns[0].name
    good, bad = sample.labels
    expected, errors = sample.answer.encode({label: [good, good, good]}, {})
    assert errors == []
    found, errors = sample.answer.encode({label: [good, bad, None]}, {})
    assert [(error.row, error.column) for error in errors] == [(1, label), (2, label)]
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape[0] == 3
        np.testing.assert_array_equal(found[name][0], array[0])


@every_answer
def test_what_travels_over_the_wire_comes_back_with_its_types(sample):
    cells = sample.answer.decode(sample.tensors)
    text = {column.name for column in sample.answer.columns if column.kind == "text"}
    sent = {
        name: [category_key(cell) if name in text else cell for cell in column]
        for name, column in cells.items()
    }
    found = sample.answer.revive(sent)
    assert repr(found) == repr(cells)
    gaps: dict[str, list[object]] = {name: [None] for name in cells}
    assert sample.answer.revive(gaps) == gaps


def test_the_facts_of_a_model_hold_any_of_them():
    answers = {f"program{number}": sample.answer for number, sample in enumerate(SAMPLES)}
    written = msgspec.json.encode(answers)
    assert msgspec.json.decode(written, type=dict[str, AnyAnswer]) == answers
