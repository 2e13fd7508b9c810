"""Every column of every real data set is taken for what its maker says that it is."""

import json
from pathlib import Path

import pytest

from automm.data.infer import infer_schema
from automm_serve.table import read_table
from automm_serve.tensors import FileTable, take_rows

pytestmark = pytest.mark.real

SETS = (
    "ag_news", "airbnb_nyc", "ames_housing", "banking77", "bccd", "camvid", "cloth_review",
    "diamonds", "emoji", "fashion_mnist", "gnad10_small", "houses", "magnetic_tile", "nuclei",
    "nyc_jobs", "omniglot_pairs", "sick", "snips", "spambase", "us_addresses",
)  # fmt: skip

WORDS = {"image": "image", "text": "text", "numeric": "number", "categorical": "category"}
"""First word of a column's description -> its kind."""

EXCEPTIONS = {
    ("emoji", "emoticon"): "category",  # 8 values, of one sign each, in 15 of 1,515 rows
}

LABELS = {
    ("ag_news", "label"): "multiclass",
    ("airbnb_nyc", "log_price"): "regression",
    ("ames_housing", "sale_price"): "regression",
    ("banking77", "label"): "multiclass",
    ("cloth_review", "rating"): "multiclass",  # whole numbers, 1 to 5: AutoGluon's rule
    ("diamonds", "log_price"): "regression",
    ("emoji", "group"): "multiclass",
    ("emoji", "subgroup"): "multiclass",
    ("fashion_mnist", "label"): "multiclass",
    ("gnad10_small", "label"): "multiclass",
    ("houses", "price"): "regression",
    ("magnetic_tile", "label"): "multiclass",
    ("nuclei", "n_nuclei"): "regression",
    ("nyc_jobs", "salary_from"): "regression",
    ("omniglot_pairs", "label"): "binary",
    ("sick", "score"): "regression",
    ("sick", "entailment"): "multiclass",
    ("sick", "label"): "binary",
    ("snips", "intent"): "multiclass",
    ("spambase", "label"): "binary",
}


def train_rows(path: Path) -> dict[str, list[object]]:
    table = read_table(path)
    rows = [row for row, part in enumerate(table["split"]) if part == "train"]
    return {name: cells for name, cells in take_rows(table, rows).items() if name != "split"}


def described_kinds(path: Path) -> dict[str, set[str | None]]:
    """Column -> the kind, or the kinds, that its description allows; not those of labels."""
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = json.loads(parquet.read_schema(path).metadata[b"dataset"])["columns"]
    kinds: dict[str, set[str | None]] = {}
    for name, words in columns.items():
        first = words.replace(",", " ").replace(":", " ").split()[0]
        if first in WORDS:
            kinds[name] = {WORDS[word] for word in WORDS if word in words.split("(")[0]}
        elif first == "list":  # of boxes or of entities: a label of tasks to come
            kinds[name] = {None}
    return kinds


@pytest.mark.parametrize("name", SETS)
def test_every_column_is_taken_for_what_it_is(name, real_data):
    path = real_data(name)
    found = {reason.name: reason for reason in infer_schema(train_rows(path)).reasons}
    wrong = {}
    for column, kinds in described_kinds(path).items():
        if found[column].kind not in {EXCEPTIONS.get((name, column))} - {None} | kinds:
            wrong[column] = found[column]
    assert not wrong


@pytest.mark.parametrize(("name", "label"), LABELS)
def test_every_label_is_taken_for_what_it_is(name, label, real_data):
    assert infer_schema(train_rows(real_data(name)), label).problem_type == LABELS[name, label]


@pytest.mark.parametrize("name", ["airbnb_nyc", "ames_housing", "cloth_review", "nyc_jobs"])
def test_the_same_table_as_csv_loses_only_that_digits_were_text(name, real_data):
    typed = train_rows(real_data(name))
    untyped: dict[str, list[object]] = {
        column: ["" if cell is None or cell != cell else str(cell) for cell in cells]
        for column, cells in typed.items()
    }
    other = infer_schema(FileTable(untyped, None, True)).reasons
    for one, same in zip(infer_schema(typed).reasons, other, strict=True):
        assert same.kind == ("number" if one.rule == "codes" else one.kind), one.name
