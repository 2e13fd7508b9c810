import csv
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from automm.data.split import choose_rows
from automm.data.tables import Split, read_training_tables
from automm_serve.errors import ConfigError, DataError, SchemaError
from automm_serve.processors import TabularProcessor
from automm_serve.table import read_table
from tests.pets import pets

COLUMNS = ("title", "weight", "age", "city", "kind")
TYPES = {"title": "text", "city": "categorical"}


def table(rows=60):
    made = pets(rows)
    return {name: made[name] for name in COLUMNS}


def read(train, tuning=None, label="kind", **options):
    return read_training_tables(train, tuning, label, Split(**options), column_types=TYPES)


def test_a_tuning_table_is_taken_as_it_is():
    found = read(table(), table(12))
    assert (len(found.train["kind"]), len(found.valid["kind"])) == (60, 12)


def test_of_a_tuning_table_the_most_are_chosen_by_the_seed_with_all_classes():
    tuning = {name: cells[0::3] + cells[1::3] + cells[2::3] for name, cells in table(90).items()}
    assert set(tuning["kind"][:12]) == {"cat"}, "it is sorted by the label"
    one, again, other = (read(table(), tuning, most=12, seed=seed) for seed in (0, 0, 1))
    assert sorted(one.valid["kind"]) == ["bird"] * 4 + ["cat"] * 4 + ["dog"] * 4
    assert one.valid == again.valid
    assert one.valid != other.valid
    held = read(table(), most=3)
    assert len(held.valid["kind"]) == 3


def test_rows_are_chosen_in_order_and_never_too_many():
    assert choose_rows(["a", "b"] * 3, 9, 0, stratify=True) == list(range(6))
    for most in range(1, 7):
        chosen = choose_rows([*"abcabca"], most, 0, stratify=True)
        assert len(chosen) == most
        assert chosen == sorted(set(chosen))
    with pytest.raises(ConfigError, match="0 rows are none"):
        choose_rows(["a"] * 6, 0, 0, stratify=False)


def test_a_tuning_table_of_another_kind_is_an_error():
    renamed = {("wieght" if name == "weight" else name): c for name, c in table(12).items()}
    with pytest.raises(SchemaError, match=r"tuning_data: column 'weight' is absent.*'wieght'"):
        read(table(), renamed)
    unseen = {**table(12), "kind": ["cow", "cat"] * 6}
    with pytest.raises(DataError, match=r"tuning_data.*'cow' is the class of no training row"):
        read(table(), unseen)
    with pytest.raises(SchemaError, match="no label column"):
        read(table(), {"title": ["a"] * 4})
    more = {**table(12), "shade": ["x"] * 12}
    assert "shade" not in read(table(), more).valid


def test_unlabelled_rows_of_a_tuning_table_are_no_class():
    tuning = {**table(12), "kind": [None, "cat", "dog"] * 4}
    assert read(table(), tuning).valid["kind"][0] is None


DAYS = [date(2020, 1, 1) + timedelta(days=17 * row) for row in range(40)]
MOMENTS = [datetime(2021, 5, 4, 3, 30) + timedelta(minutes=95 * row) for row in range(40)]
ZONED = [moment.replace(tzinfo=UTC) for moment in MOMENTS]
DATES: dict[str, list[Any]] = {
    "day": [*DAYS[:39], None],
    "moment": [None, *MOMENTS[1:]],
    "zoned": ZONED,
}
ISO = {n: [None if c is None else c.isoformat() for c in cells] for n, cells in DATES.items()}


def date_forms(folder):
    pandas = pytest.importorskip("pandas")
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    label = {"y": [float(row % 7) for row in range(40)]}
    frame = pandas.DataFrame({**{n: pandas.to_datetime(c) for n, c in DATES.items()}, **label})
    yield "frame", frame
    yield "columns", {**DATES, **label}
    yield "text", {**ISO, **label}
    yield "numpy", {**DATES, "moment": np.array(DATES["moment"], "datetime64[ns]"), **label}
    yield "arrow", pyarrow.table({**DATES, **label})
    parquet.write_table(pyarrow.table({**DATES, **label}), folder / "t.parquet")
    yield "parquet", folder / "t.parquet"
    frame.to_parquet(folder / "frame.parquet")
    yield "frame's parquet", folder / "frame.parquet"
    frame.to_csv(folder / "frame.csv", index=False)
    yield "frame's csv", folder / "frame.csv"
    with (folder / "t.csv").open("w", newline="") as file:
        names = [*ISO, "y"]
        csv.writer(file).writerows([names, *zip(*ISO.values(), label["y"], strict=True)])
    yield "csv", folder / "t.csv"
    lines = zip(*ISO.values(), label["y"], strict=True)
    (folder / "t.jsonl").write_text("\n".join(json.dumps(dict(zip(names, r))) for r in lines))  # noqa: B905
    yield "json lines", folder / "t.jsonl"


def test_dates_are_numbers_of_days_in_whatever_form_the_table_comes(tmp_path, subtests):
    expected = None
    for name, form in date_forms(tmp_path):
        with subtests.test(name):
            found = read_training_tables(form, None, "y", Split(), problem_type="regression")
            reasons = {reason.name: reason for reason in found.understanding.reasons}
            assert {(r.kind, r.subtype) for r in reasons.values()} == {("number", "date")}
            processor = TabularProcessor.fit("table", found.train, list(DATES), [])
            days, errors = processor.transform(read_table(form))
            assert errors == []
            expected = (processor, days) if expected is None else expected
            assert processor == expected[0]
            np.testing.assert_array_equal(days["table_numbers"], expected[1]["table_numbers"])
    assert expected is not None
    numbers = expected[1]["table_numbers"]
    assert numbers[0, 0] == (DAYS[0] - date(1970, 1, 1)).days
    assert np.isnan(numbers[39, 0])
    assert np.isnan(numbers[0, 1])
