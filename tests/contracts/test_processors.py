"""What every processor must do. A new member of the union gets its sample here, and all of this."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import get_args

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct, structs

from automm_serve.processors import (
    AnyProcessor,
    ImageProcessor,
    Processor,
    TabularProcessor,
    TextProcessor,
)
from automm_serve.processors.image import ImageColumn
from automm_serve.processors.text import Wording
from automm_serve.tensors import Axis, Tensors, TensorSpec, count_rows, take_rows
from tests.automm_serve.samples import SCALARS, png, same, word_tokenizer


class Sample(Struct, frozen=True):
    """A fitted processor, cells that it can read, with gaps, and one that it cannot."""

    processor: AnyProcessor
    table: dict[str, list[object]]
    bad: object


TEXTS: dict[str, list[object]] = {
    "title": ["a red cup", None, "the " * 40, "lamp", ""],
    "body": [None, None, "old " * 70, "", "chair"],
}
CELLS: dict[str, list[object]] = {
    "age": [1, None, "2.5", True, 7],
    "height": [None, 1.5, 3, 4, 5],
    "colour": ["red", None, "blue", "unheard", "red"],
}
WORDED = structs.replace(
    TextProcessor.fit("text", ["height", "colour"], word_tokenizer().to_str(), 50),
    wordings=(Wording("height", "number"), Wording("colour", "category", "list")),
)
PHOTOS: dict[str, list[object]] = {
    "front": [png(0), None, [png(1), png(2)], png(3), None],
    "back": [None, png(4), None, png(5), png(6)],
}
SAMPLES = [
    Sample(TextProcessor.fit("text", list(TEXTS), word_tokenizer().to_str(), 50), TEXTS, "\udc80"),
    Sample(WORDED, CELLS, float("inf")),
    Sample(TabularProcessor.fit("table", CELLS, ["age", "height"], ["colour"]), CELLS, ["x"]),
    Sample(TabularProcessor.fit("table", CELLS, [], ["colour"]), CELLS, ["x"]),
    Sample(
        ImageProcessor("image", 8, 12, (ImageColumn("front", 2), ImageColumn("back"))),
        PHOTOS,
        b"no picture",
    ),
]
every_processor = pytest.mark.parametrize(
    "sample", SAMPLES, ids=lambda sample: "-".join(sample.processor.columns)
)


def cut(tensors: Tensors, specs: Sequence[TensorSpec], row: int, width: dict[str, int]) -> Tensors:
    """One row, its varying axes cut to these widths."""
    found: Tensors = {}
    for spec in specs:
        tensor = tensors[spec.name][row : row + 1]
        for number, axis in enumerate(spec.shape):
            if isinstance(axis, Axis) and axis.name in width:
                tensor = tensor.take(range(width[axis.name]), axis=number)
        found[spec.name] = tensor
    return found


def test_every_member_of_the_union_has_a_sample():
    assert {type(sample.processor) for sample in SAMPLES} == set(get_args(AnyProcessor))


@every_processor
def test_it_is_json_and_comes_back_equal_by_its_tag_alone(sample):
    written = msgspec.json.encode(sample.processor)
    again = msgspec.json.decode(written, type=AnyProcessor)
    assert type(again) is type(sample.processor)
    assert again == sample.processor
    assert msgspec.json.encode(again) == written
    same(again.transform(sample.table)[0], sample.processor.transform(sample.table)[0])


@every_processor
def test_an_unknown_field_or_tag_is_refused(sample):
    written = msgspec.json.encode(sample.processor)
    for changed in (b'{"surprise":1,' + written[1:], re.sub(b'"type":"', b'"type":"x', written)):
        assert changed != written
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(changed, type=AnyProcessor)


@every_processor
@pytest.mark.parametrize("rows", [0, 1, 2, 5])
def test_the_arrays_are_those_of_the_specs(sample, rows):
    processor: Processor = sample.processor
    tensors, errors = processor.transform(take_rows(sample.table, range(rows)))
    assert errors == []
    assert list(tensors) == [spec.name for spec in processor.specs()]
    sizes: dict[str, int] = {"batch": rows}
    for spec in processor.specs():
        tensor = tensors[spec.name]
        assert spec.name.startswith(f"{processor.name}_")
        assert tensor.dtype == spec.dtype
        assert tensor.ndim == len(spec.shape)
        assert tensor.flags.c_contiguous
        for size, axis in zip(tensor.shape, spec.shape, strict=True):
            if not isinstance(axis, Axis):
                assert size == axis > 0
                continue
            assert size in (axis.sizes or [rows])
            assert sizes.setdefault(axis.name, size) == size
            assert list(axis.sizes) == sorted(set(axis.sizes))


@every_processor
def test_a_row_alone_gets_what_it_gets_in_the_batch(sample):
    processor = sample.processor
    whole, _ = processor.transform(sample.table)
    for row in range(count_rows(sample.table)):
        alone, errors = processor.transform(take_rows(sample.table, [row]))
        assert errors == []
        width = {
            axis.name: size
            for spec in processor.specs()
            for size, axis in zip(alone[spec.name].shape, spec.shape, strict=True)
            if isinstance(axis, Axis) and axis.sizes
        }
        same(cut(whole, processor.specs(), row, width), alone)


@every_processor
def test_it_says_what_each_row_needs_of_its_varying_axes(sample):
    processor = sample.processor
    tensors, _ = processor.transform(sample.table)
    needs = processor.needs(tensors)
    axes = {
        axis.name: axis.sizes
        for spec in processor.specs()
        for axis in spec.shape
        if isinstance(axis, Axis) and axis.sizes
    }
    assert needs.keys() == axes.keys()
    for name, needed in needs.items():
        assert needed.shape == (count_rows(sample.table),)
        for row, size in enumerate(needed):
            alone, _ = processor.transform(take_rows(sample.table, [row]))
            fitted = next(known for known in axes[name] if known >= size)
            first = processor.specs()[0]
            place = next(i for i, a in enumerate(first.shape) if getattr(a, "name", "") == name)
            assert alone[first.name].shape[place] == fitted


@every_processor
@pytest.mark.parametrize("gap", [None, float("nan"), "", "NA"])
def test_gaps_are_read_in_every_cell_and_all_gaps_are_alike(sample, gap):
    columns = sample.processor.columns
    tensors, errors = sample.processor.transform({name: [gap, None] for name in columns})
    assert errors == []
    for tensor in tensors.values():
        np.testing.assert_array_equal(tensor[0], tensor[1])


@every_processor
def test_a_gap_is_told_apart_from_a_value(sample):
    for name in sample.processor.columns:
        full, _ = sample.processor.transform(take_rows(sample.table, [3]))
        row = {**take_rows(sample.table, [3]), name: [None]}
        gap, _ = sample.processor.transform(row)
        if sample.table[name][3] not in (None, ""):
            assert any((full[tensor] != gap[tensor]).any() for tensor in full), name


@every_processor
def test_a_bad_cell_is_named_and_its_neighbours_are_untouched(sample):
    processor = sample.processor
    expected, _ = processor.transform(sample.table)
    for name in processor.columns:
        spoilt = {**sample.table, name: list(sample.table[name])}
        spoilt[name][3] = sample.bad
        found, errors = processor.transform(spoilt)
        assert [(error.row, error.column) for error in errors] == [(3, name)]
        assert errors[0].what
        errors[0].what.encode()
        gap, _ = processor.transform({**spoilt, name: [*spoilt[name][:3], None, spoilt[name][4]]})
        same(found, gap)  # the cell itself stands there as a gap
        for tensor, array in expected.items():
            others = [0, 1, 2, 4]
            np.testing.assert_array_equal(found[tensor][others], array[others])


@every_processor
def test_the_table_is_left_as_it_was(sample):
    before = {name: list(cells) for name, cells in sample.table.items()}
    sample.processor.transform(sample.table)
    assert sample.table == before


@every_processor
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_no_cell_whatever_it_is_raises(sample, data):
    rows = data.draw(st.integers(1, 3))
    cells = st.lists(SCALARS, min_size=rows, max_size=rows)
    table = {name: data.draw(cells) for name in sample.processor.columns}
    tensors, errors = sample.processor.transform(table)
    assert all(len(tensor) == rows for tensor in tensors.values())
    assert {error.column for error in errors} <= set(table)
    assert all(0 <= error.row < rows for error in errors)
    for error in errors:
        error.what.encode()
