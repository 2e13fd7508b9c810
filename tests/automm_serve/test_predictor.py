from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from automm_serve.answers import ValuesAnswer
from automm_serve.errors import SchemaError
from automm_serve.predictor import CHUNK, LocalPredictor
from automm_serve.predicts import Predictions
from automm_serve.tensors import Table, concat_tables, take_rows
from tests.automm_serve.samples import SCHEMA, predictor, sample_session, table


def features(found: Predictions) -> NDArray[np.float32]:
    """The vectors of an answer; rows without one are NaN."""
    gap = np.full(6, np.nan, np.float32)
    cells: Sequence[Any] = found.columns["features"]
    return np.stack([gap if cell is None else cell for cell in cells])


def row_by_row(model: LocalPredictor, data: Table, rows: int) -> NDArray[np.float32]:
    alone = [model.run(take_rows(data, [row]), "embed") for row in range(rows)]
    return np.concatenate([features(found) for found in alone])


def test_rows_run_together_by_length_are_answered_as_each_alone_and_in_order():
    data = table(70)
    model = predictor(batch_size=8)
    found = model.run(data, "embed")
    np.testing.assert_array_equal(features(found), row_by_row(predictor(), data, 70))
    assert found.errors == []
    shapes = sample_session(model).shapes
    assert {shape["text_ids"][1] for shape in shapes} == {16, 32, 48}
    assert max(shape["text_ids"][0] for shape in shapes) == 8
    assert sum(shape["text_ids"][0] for shape in shapes) == 70
    for shape in shapes:
        assert {tensor[0] for tensor in shape.values()} == {shape["text_ids"][0]}
        assert shape["text_ids"] == shape["text_mask"]


def test_a_group_is_padded_no_longer_than_its_own_rows_need():
    model = predictor()
    data = table(30)
    model.run(data)
    lengths = [len(str(a).split()) + len(str(b or "").split()) + 3
               for a, b in zip(data["title"], data["body"], strict=True)]  # fmt: skip
    needed = {16: 0, 32: 0, 48: 0}
    for length in lengths:
        needed[next(size for size in needed if size >= length or size == 48)] += 1
    ran: dict[int, int] = {}
    for shape in sample_session(model).shapes:
        rows, length = shape["text_ids"]
        ran[length] = ran.get(length, 0) + rows
    assert ran == {size: count for size, count in needed.items() if count}


@pytest.mark.parametrize("rows", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_a_table_of_many_chunks_is_answered_in_order_and_its_errors_keep_their_rows(rows):
    data = table(rows)
    bad = sorted({0, CHUNK - 2, rows - 1})
    data["price"] = ["x" if row in bad else price for row, price in enumerate(data["price"])]
    found = predictor().run(data, "embed")
    assert [error.row for error in found.errors] == bad
    answers = features(found)
    assert len(answers) == rows
    assert np.flatnonzero(np.isnan(answers).any(axis=1)).tolist() == bad
    some = sorted({1, CHUNK - 3, rows // 2, rows - 2})
    alone = predictor().run(take_rows(data, some), "embed")
    np.testing.assert_array_equal(answers[some], features(alone))


def test_an_answer_does_not_depend_on_the_neighbours():
    data = table(20, seed=1)
    whole = features(predictor().run(data, "embed"))
    turned = predictor().run(take_rows(data, range(19, -1, -1)), "embed")
    np.testing.assert_array_equal(features(turned)[::-1], whole)


def test_a_row_that_fails_gets_a_gap_and_its_neighbours_their_own_answers():
    good = table(6)
    bad = {name: list(cells) for name, cells in good.items()}
    bad["picture"][1] = b"no picture"
    bad["title"][3] = "\udc80"
    bad["price"][3] = "much"  # two faults in a row: the first that is found is told
    bad["colour"][4] = ["red"]
    found = predictor().run(bad)
    assert [(error.row, error.column) for error in found.errors] == [
        (1, "picture"), (3, "title"), (4, "colour"),
    ]  # fmt: skip
    assert found.failed == {1, 3, 4}
    expected = predictor().run(good)
    for row in range(6):
        label, vector = found.columns["label"][row], found.columns["probabilities"][row]
        if row in found.failed:
            assert label is None
            assert vector is None
        else:
            assert label == expected.columns["label"][row]
            np.testing.assert_array_equal(vector, expected.columns["probabilities"][row])


def test_where_every_row_fails_no_graph_is_run():
    data = table(5)
    data["price"] = ["x"] * 5
    model = predictor()
    found = model.run(data)
    assert found.columns == {"label": [None] * 5, "probabilities": [None] * 5}
    assert len(found.errors) == 5
    assert sample_session(model).shapes == []


@pytest.mark.parametrize("data", [{}, {name: [] for name in table(0)}, {"title": [], "price": []}])
def test_no_rows_have_no_answers(data):
    model = predictor()
    if not data:
        with pytest.raises(SchemaError, match="'title' is absent"):
            model.run(data)
        return
    found = model.run(data)
    assert found.columns == {"label": [], "probabilities": []}
    assert found.errors == []
    assert sample_session(model).shapes == []


def test_a_row_of_gaps_is_answered():
    found = predictor().run({column.name: [None] for column in SCHEMA.columns}, "embed")
    assert found.errors == []
    assert features(found)[0].tolist() == [17, 3, -396, 0, 0, 0]  # 2, 3, 3 by place; NaN is -99


def test_an_absent_optional_column_counts_as_gaps_and_is_warned_of_once():
    data = table(CHUNK + 5)
    without = {name: cells for name, cells in data.items() if name not in ("body", "picture")}
    found = predictor().run(without, "embed")
    assert len(found.warnings) == 2
    blank: list[object] = [None] * (CHUNK + 5)
    gaps = predictor().run({**data, **dict.fromkeys(["body", "picture"], blank)}, "embed")
    np.testing.assert_array_equal(features(found), features(gaps))


def test_a_misspelt_column_is_an_error_of_the_whole_table():
    data = table(3)
    data["titel"] = data.pop("title")
    with pytest.raises(SchemaError, match="'title' is absent, 'titel' is unknown"):
        predictor().run(data)


def test_a_program_that_is_not_there_is_an_error():
    with pytest.raises(SchemaError, match="'search'"):
        predictor().run(table(1), "search")


def test_every_input_changes_the_answer():
    # The control of all tests above: what the sample's graph did not read, they could not see.
    base = table(1)
    base.update(body=["lamp"], picture=[None])
    first = features(predictor().run(base, "embed"))
    for name, cell in [
        ("title", "big old chair"), ("body", None), ("price", 99), ("colour", "mauve"),
        ("picture", table(8)["picture"][1] or table(8)["picture"][2]),
    ]:  # fmt: skip
        changed = features(predictor().run({**base, name: [cell]}, "embed"))
        assert (changed != first).any(), name


def test_the_time_of_every_stage_is_told_to_whoever_watches():
    model = predictor()
    seen = []
    model.watch = lambda stage, seconds: seen.append((stage, seconds))
    model.run(table(3))
    stages = [stage for stage, _ in seen]
    assert stages[:3] == ["text", "table", "image"]
    assert set(stages[3:-1]) == {"graph"}
    assert stages[-1] == "answer"
    assert all(seconds >= 0 for _, seconds in seen)


def test_numbers_are_answered_as_they_come_from_the_graph():
    model = predictor(ValuesAnswer("worth", 0.0, 1.0))
    found = model.run(table(9))
    assert set(found.columns) == {"worth"}
    assert set(found.columns["worth"]) <= {0.25, 0.75}


def test_tables_answered_apart_are_the_table_answered_at_once():
    parts = [table(5, seed=1), table(3, seed=2)]
    model = predictor()
    apart = np.concatenate([features(model.run(part, "embed")) for part in parts])
    np.testing.assert_array_equal(features(model.run(concat_tables(parts), "embed")), apart)


def test_closing_closes_the_sessions():
    model = predictor()
    model.run(table(1))
    assert sample_session(model).shapes
    model.close()
    assert not sample_session(model).shapes
