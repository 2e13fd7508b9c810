from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automm_serve.errors import DataError, MissingDependencyError, SchemaError
from automm_serve.table import read_table, under_root
from automm_serve.tensors import FileTable

COLUMNS: dict[str, list[object]] = {"a": ["1", "2"], "b": ["x, y", 'say "no"\nand go']}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_csv(path: Path, columns: dict[str, list[object]], delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


# -- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t"), (".CSV", ",")])
def test_a_file_without_types_gives_strings_and_says_so(tmp_path, suffix, delimiter):
    path = write_csv(tmp_path / f"rows{suffix}", COLUMNS, delimiter)
    found = read_table(str(path))
    assert found == COLUMNS
    assert isinstance(found, FileTable)
    assert found.untyped
    assert found.root == tmp_path.resolve()


ROWS = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.text(",;\t\"'\r\n ab", max_size=6),
    ),
    max_size=6,
)


@given(ROWS, st.sampled_from([",", "\t"]))
def test_what_was_written_as_csv_is_read_as_it_was(tmp_path_factory, rows, delimiter):
    columns: dict[str, list[object]] = {
        "a": [first for first, _ in rows],
        "b": [second for _, second in rows],
    }
    path = tmp_path_factory.mktemp("rows") / ("rows.csv" if delimiter == "," else "rows.tsv")
    assert read_table(write_csv(path, columns, delimiter)) == columns


def test_a_mark_of_the_byte_order_is_no_part_of_the_first_name(tmp_path):
    mark = b"\xef\xbb\xbf"
    assert read_table(write(tmp_path / "a.csv", mark + b"a\n1\n")) == {"a": ["1"]}
    assert read_table(write(tmp_path / "a.jsonl", mark + b'{"a":1}\n')) == {"a": [1]}
    assert read_table(write(tmp_path / "a.json", mark + b'[{"a":1}]')) == {"a": [1]}


def test_bytes_that_are_not_utf8_stay_in_their_own_cell(tmp_path):
    found = read_table(write(tmp_path / "a.csv", b"a,b\nGr\xf6\xdfe,1\nfine,2\n"))
    assert found == {"a": ["Gr\udcf6\udcdfe", "fine"], "b": ["1", "2"]}


def test_blank_lines_are_no_rows_but_a_quoted_empty_cell_is_one(tmp_path):
    found = read_table(write(tmp_path / "a.csv", 'a\n\n1\n""\n\n2\n'))
    assert found == {"a": ["1", "", "2"]}


def test_a_cell_may_be_as_long_as_a_picture(tmp_path):
    found = read_table(write(tmp_path / "a.csv", "a\n" + "A" * 1_000_000 + "\n"))
    assert len(str(found["a"][0])) == 1_000_000


def test_json_lines_keep_their_types_and_an_absent_key_is_a_gap(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"a": 1, "b": "x"}\n\n{"b": null, "c": [true]}\r\n')
    found = read_table(path)
    assert found == {"a": [1, None], "b": ["x", None], "c": [None, [True]]}
    assert isinstance(found, FileTable)
    assert not found.untyped


@pytest.mark.parametrize("content", ['[{"a": 1}, {"a": 2}]', '{"a": [1, 2]}'])
def test_json_may_be_records_or_columns(tmp_path, content):
    assert read_table(write(tmp_path / "a.json", content)) == {"a": [1, 2]}


def test_parquet_keeps_types_gaps_and_bytes(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"a": [1, None], "b": [b"\xff", None], "c": [["x"], []]})
    parquet.write_table(table, tmp_path / "a.parquet")
    found = read_table(tmp_path / "a.parquet")
    assert found == {"a": [1, None], "b": [b"\xff", None], "c": [["x"], []]}


def test_parquet_without_its_package_names_the_file_and_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    path = write(tmp_path / "a.parquet", b"PAR1")
    with pytest.raises(MissingDependencyError, match=r"a\.parquet.*\n.*automm-edge\[parquet\]"):
        read_table(path)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.csv", "", "no line of column names"),
        ("a.csv", "\n\n", "no line of column names"),
        ("a.csv", "a,b\n1\n", r"row 0 has 1 cells, the header has 2"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", r"row 1 has 3 cells"),
        ("a.csv", 'a\n"open\n', "line 2"),
        ("a.csv", "a,b\n1,2\n".encode("utf-16"), "column name"),
        ("a.csv", b"gr\xf6\xdfe\n1\n", "not UTF-8"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "line 2"),
        ("a.jsonl", '{"a": 1e999}\n', "line 1"),
        ("a.jsonl", '{"a": "\\ud800"}\n', "line 1"),
        ("a.jsonl", b'{"a": "\xff"}\n', "line 1"),
        ("a.jsonl", '{"a": ' + "[" * 100_000 + "\n", "line 1"),
        ("a.jsonl", '{"a": 1}\n[1]\n', "record 1: list is not a record"),
        ("a.json", "{", "a.json"),
        ("a.json", "3", "int is not a table"),
        ("a.json", '[{"a": 1}, 2]', "row 1: int is not a record"),
    ],
)
def test_a_file_that_is_no_table_is_named_with_the_place_and_the_fault(
    tmp_path, name, content, what
):
    with pytest.raises(DataError, match=what):
        read_table(write(tmp_path / name, content))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all", b"PAR1" * 9])
def test_a_damaged_parquet_file_is_named(tmp_path, content):
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=r"a\.parquet"):
        read_table(write(tmp_path / "a.parquet", content))


@pytest.mark.parametrize("name", ["absent.csv", "folder.csv", "nul\0.csv"])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="there is no such file"):
        read_table(tmp_path / name)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "a.csv"
    path.symlink_to("/proc/self/mem")  # is a file, and refuses to be read from its start
    if not path.is_file():
        pytest.skip("there is no /proc")
    with pytest.raises(DataError, match=r"a\.csv"):
        read_table(path)


@pytest.mark.parametrize("name", ["rows.xlsx", "rows", "rows.csv.gz"])
def test_a_kind_of_file_that_is_not_read_is_named_with_those_that_are(tmp_path, name):
    with pytest.raises(DataError, match=r"\.csv, \.tsv, \.jsonl"):
        read_table(write(tmp_path / name, "a\n1\n"))


# -- objects in memory ---------------------------------------------------------------------------


def test_records_may_lack_keys():
    assert read_table([{"a": 1}, {"b": 2}]) == {"a": [1, None], "b": [None, 2]}
    assert read_table([]) == {}


def test_columns_may_be_any_iterables_and_names_become_strings():
    columns = {"a": (1, 2), "b": np.array([0.5, np.nan]), 3: range(2)}
    found = read_table(columns)
    assert list(found) == ["a", "b", "3"]
    assert found["a"] == [1, 2]
    assert found["3"] == [0, 1]
    assert read_table([{3: "x"}]) == {"3": ["x"]}


def test_the_same_name_twice_is_refused(tmp_path):
    with pytest.raises(SchemaError, match="more than one column is called 'a'"):
        read_table(write(tmp_path / "a.csv", "a,b,a\n1,2,3\n"))
    with pytest.raises(SchemaError, match="more than one column is called '1'"):
        read_table([{1: "x", "1": "y"}])
    pandas = pytest.importorskip("pandas")
    with pytest.raises(SchemaError, match="more than one column is called 'a'"):
        read_table(pandas.DataFrame([[1, 2]], columns=["a", "a"]))
    arrow = pytest.importorskip("pyarrow")
    with pytest.raises(SchemaError, match="more than one column is called 'a'"):
        read_table(arrow.Table.from_arrays([arrow.array([1])] * 2, names=["a", "a"]))


@pytest.mark.parametrize("cells", ["text", b"bytes", {"0": 1}, 3, None])
def test_a_column_that_is_one_cell_is_refused_by_name(cells):
    with pytest.raises(SchemaError, match="column 'a'"):
        read_table({"a": cells})


@pytest.mark.parametrize("source", [3, None, b"a,b", object(), np.zeros((2, 2)), {1, 2}])
def test_what_is_no_table_is_refused_by_its_type(source):
    with pytest.raises(DataError, match="is not a table"):
        read_table(source)


def test_a_record_that_is_none_is_refused_by_its_row():
    with pytest.raises(DataError, match="row 1: list is not a record"):
        read_table([{"a": 1}, [1]])


def test_a_frame_gives_scalars_and_keeps_single_precision():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "a": [1.0, None],
            "b": pandas.array([1, None], "Int64"),
            "c": np.array([0.1, 2], np.float32),
        }
    )
    found = read_table(frame)
    assert found["a"][0] == 1.0
    assert math.isnan(float(str(found["a"][1])))
    assert found["b"] == [1, pandas.NA]
    assert found["c"] == [np.float32(0.1), np.float32(2)]
    assert type(found["c"][0]) is np.float32


def test_arrow_gives_python_cells_as_a_table_or_as_columns():
    arrow = pytest.importorskip("pyarrow")
    columns = {"a": arrow.array([1, None]), "b": arrow.array([0.1, None], arrow.float32())}
    expected = {"a": [1, None], "b": [np.float32(0.1), None]}
    assert read_table(arrow.table(columns)) == expected
    assert read_table(columns) == expected
    assert read_table(arrow.RecordBatch.from_pydict(columns)) == expected
    assert type(read_table(columns)["b"][0]) is np.float32  # it is spelt 0.1, as in a file


# -- where picture paths start -------------------------------------------------------------------


def test_an_image_root_stands_above_the_folder_of_the_file(tmp_path):
    path = write(tmp_path / "a.csv", "a\np.png\n")
    assert getattr(read_table(path), "root", None) == tmp_path.resolve()
    assert getattr(read_table(path, "pictures"), "root", None) == Path("pictures")
    assert getattr(read_table(read_table(path), "else"), "root", None) == Path("else")
    assert getattr(read_table(read_table(path)), "root", None) == tmp_path.resolve()
    assert getattr(read_table({"a": ["p.png"]}, "pictures"), "root", None) == Path("pictures")
    assert not isinstance(read_table({"a": ["p.png"]}), FileTable)


def test_relative_paths_are_joined_and_all_else_stays(tmp_path):
    root = tmp_path
    write(root / "named_without_suffix", b"x")
    base64 = "iVBORw0KGgo/AAA+="
    uri = "data:image/png;base64," + base64
    kept = ["", "NA", None, b"a.png", base64, uri, "/abs/a.png", 3, "A" * 5000, "no picture; a.png"]
    assert under_root(FileTable({}, root), kept) == kept
    joined = {
        "a.png": f"{root}/a.png",
        " b/a.JPG ": f"{root}/b/a.JPG",
        "a.png;b.webp": f"{root}/a.png;{root}/b.webp",
        "a.png; b.png;": f"{root}/a.png;{root}/b.png",
        "named_without_suffix": f"{root}/named_without_suffix",
    }
    assert under_root(FileTable({}, root), list(joined)) == list(joined.values())
    lists = [["a.png", b"x"], ("a.png",), np.array(["a.png", None], object), np.array(["a.png"])]
    absolute = f"{root}/a.png"
    expected = [[absolute, b"x"], [absolute], [absolute, None], [absolute]]
    assert under_root(FileTable({}, root), lists) == expected
    others = [Path("a.png"), {"bytes": None, "path": "a.png"}]
    assert under_root(FileTable({}, root), others) == [
        root / "a.png",
        {"bytes": None, "path": absolute},
    ]


def test_a_table_without_a_folder_leaves_every_path_as_it_is():
    assert under_root({}, ["a.png", Path("a.png")]) == ["a.png", Path("a.png")]


def test_a_table_of_json_and_the_same_in_memory_are_equal(tmp_path):
    records = [{"a": 1.5, "b": "x"}, {"a": None, "b": "né"}]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, records)))
    assert read_table(path) == read_table(records)
