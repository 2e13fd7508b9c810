"""The same table gives equal tensors in whatever form it comes: the law that all else rests on."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from automm_serve.processors import ImageProcessor, TabularProcessor, TextProcessor
from automm_serve.processors.image import ImageColumn
from automm_serve.schema import Column, Kind, Schema
from automm_serve.table import read_table
from automm_serve.tensors import Table, Tensors
from automm_serve.wire import from_wire, to_wire
from tests.automm_serve.samples import base64_of, pixels, png, same, word_tokenizer

NUMBERS: dict[str, list[Any]] = {
    "whole": [1.0, 2.0, -3.0, 40.0, 1e6],
    "price": [0.1, 12.5, None, 1e-7, 123456.789],
    "count": [1, None, 3, 16777217, -5],
    "flag": [True, False, None, True, False],
    "day": [date(2020, 2, 29), None, date(1969, 12, 31), date(1900, 1, 1), date(2020, 3, 1)],
    "moment": [
        datetime(2020, 2, 29, 12, 30),
        datetime(2020, 3, 1),
        None,
        datetime(1999, 12, 31, 23, 59, 59),
        datetime(2001, 1, 1),
    ],
}
CATEGORIES: dict[str, list[Any]] = {
    "word": ["red", "NA", None, "Größe", "a, b"],
    "code": ["007", "7", "1e3", "3.50", None],
    "flag_too": [True, None, False, False, True],
    "count_too": [3, None, 3, 4, 4],
    "score": [4.5, 3.0, None, 4.5, 3.0],
    "day_too": [date(2020, 2, 29), None, date(2020, 2, 29), date(1900, 1, 1), date(1900, 1, 1)],
    "midnights": [datetime(2020, 2, 29), None, datetime(1900, 1, 1), datetime(1900, 1, 1), None],
    "moment_too": [datetime(2020, 2, 29, 12, 30), None, None, datetime(1900, 1, 1), None],
}
TEXTS: dict[str, list[Any]] = {
    "title": ["a red cup", "lamp, old; new", None, 'the "big" chair', "NA"],
    "body": ["one\nline\r\nand two", "tab\there", "  the  lamp ", "", "N/A cup"],
    "size": [40, None, 42, 42, 38],  # an integer column that is read as text
    "weight": [1.5, 2.0, None, 2.0, 0.1],
    "sold": [True, None, False, True, True],
}
PICTURES: dict[str, list[Any]] = {
    "photo": ["a.png", "sub/b.png", None, "c.png", "NA"],
    "more": ["a.png;c.png", None, "sub/b.png", "a.png; sub/b.png; c.png", ""],
}
COLUMNS: dict[str, list[Any]] = {**NUMBERS, **CATEGORIES, **TEXTS, **PICTURES}
WORDS = "red cup lamp old new big chair one line and two tab na 40 42 38 1 2 5 true"
KINDS: dict[Kind, dict[str, list[Any]]] = {
    "number": NUMBERS,
    "category": CATEGORIES,
    "text": TEXTS,
    "image": PICTURES,
}
SCHEMA = Schema(tuple(Column(name, kind) for kind, columns in KINDS.items() for name in columns))
PROCESSORS = (
    TabularProcessor.fit("table", COLUMNS, list(NUMBERS), list(CATEGORIES), minimum_cat_count=1),
    TextProcessor.fit("text", list(TEXTS), word_tokenizer(WORDS.split()).to_str(), 48),
    ImageProcessor("image", 8, 12, (ImageColumn("photo"), ImageColumn("more", 2))),
)


def tensors_of(table: Table) -> Tensors:
    """Conform and transform; every cell here can be read."""
    full, warnings = SCHEMA.conform(table)
    assert warnings == []
    tensors: Tensors = {}
    for processor in PROCESSORS:
        made, errors = processor.transform(full)
        assert errors == []
        tensors |= made
    return tensors


@pytest.fixture
def folder(tmp_path):
    """Where the files and their pictures lie; not the folder that a test runs in."""
    (tmp_path / "sub").mkdir()
    for seed, name in enumerate(("a.png", "sub/b.png", "c.png")):
        (tmp_path / name).write_bytes(png(seed))
    return tmp_path


def records() -> list[dict[str, Any]]:
    rows = zip(*COLUMNS.values(), strict=True)
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def iso(cell: Any) -> Any:
    return cell.isoformat() if isinstance(cell, date) else cell


def as_columns(folder: Path) -> Any:
    return COLUMNS


def as_records(folder: Path) -> Any:
    return records()


def as_records_without_gaps(folder: Path) -> Any:
    return [{n: cell for n, cell in record.items() if cell is not None} for record in records()]


def as_arrays(folder: Path) -> Any:
    kinds = {**dict.fromkeys(("whole", "price", "score", "weight"), float)}
    days = {"day": "D", "moment": "s", "day_too": "D", "midnights": "ns", "moment_too": "ns"}
    arrays = {name: np.array(cells, kinds.get(name, object)) for name, cells in COLUMNS.items()}
    return arrays | {n: np.array(COLUMNS[n], f"datetime64[{unit}]") for n, unit in days.items()}


def as_numpy_scalars(folder: Path) -> Any:
    def scalar(cell: Any) -> Any:
        if isinstance(cell, bool):
            return np.bool_(cell)
        return np.array(cell)[()] if isinstance(cell, int | float | str) else cell

    return {name: [scalar(cell) for cell in cells] for name, cells in COLUMNS.items()}


def as_odd_types(folder: Path) -> Any:
    """Decimals, bytes and text of numbers, as databases and drivers give them."""

    def odd(name: str, cell: Any) -> Any:
        if isinstance(cell, bool) or cell is None:
            return cell
        if isinstance(cell, float):
            return Decimal(str(cell))
        if isinstance(cell, int):
            return str(cell)
        return cell.encode() if isinstance(cell, str) and name not in PICTURES else cell

    return {name: [odd(name, cell) for cell in cells] for name, cells in COLUMNS.items()}


def as_csv(folder: Path, delimiter: str = ",", quoting: Any = csv.QUOTE_MINIMAL) -> Any:
    path = folder / ("rows.csv" if delimiter == "," else "rows.tsv")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=quoting)
        writer.writerow(COLUMNS)
        writer.writerows(zip(*COLUMNS.values(), strict=True))
    return path


def as_tsv(folder: Path) -> Any:
    return as_csv(folder, "\t")


def as_quoted_csv(folder: Path) -> Any:
    return as_csv(folder, quoting=csv.QUOTE_ALL)


def as_json_lines(folder: Path) -> Any:
    lines = [json.dumps({name: iso(cell) for name, cell in row.items()}) for row in records()]
    path = folder / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def as_json_records(folder: Path) -> Any:
    path = folder / "rows.json"
    path.write_text(json.dumps(records(), default=iso, ensure_ascii=False), encoding="utf-8")
    return path


def as_json_columns(folder: Path) -> Any:
    path = folder / "rows.json"
    path.write_text(json.dumps(COLUMNS, default=iso))
    return path


def as_frame(folder: Path) -> Any:
    return pytest.importorskip("pandas").DataFrame(COLUMNS)


def as_frame_of_objects(folder: Path) -> Any:
    return pytest.importorskip("pandas").DataFrame(COLUMNS, dtype=object)


def as_nullable_frame(folder: Path) -> Any:
    return as_frame(folder).convert_dtypes()


def as_frame_of_categories(folder: Path) -> Any:
    frame = as_frame(folder)
    return frame.astype({name: "category" for name in [*CATEGORIES, "title"]})


def as_csv_of_pandas(folder: Path) -> Any:
    as_frame(folder).to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


def as_csv_of_pandas_with_index(folder: Path) -> Any:
    as_frame(folder).to_csv(folder / "rows.csv", na_rep="NaN")
    return folder / "rows.csv"


def as_json_of_pandas(folder: Path) -> Any:
    as_frame(folder).to_json(
        folder / "rows.jsonl", orient="records", lines=True, date_format="iso", double_precision=15
    )
    return folder / "rows.jsonl"


def as_arrow(folder: Path) -> Any:
    return pytest.importorskip("pyarrow").table(COLUMNS)


def as_parquet(folder: Path) -> Any:
    arrow = as_arrow(folder)
    pytest.importorskip("pyarrow.parquet").write_table(arrow, folder / "rows.parquet")
    return folder / "rows.parquet"


def as_parquet_of_pandas(folder: Path) -> Any:
    pytest.importorskip("pyarrow")
    as_frame(folder).to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def as_frame_of_parquet(folder: Path) -> Any:
    return pytest.importorskip("pandas").read_parquet(as_parquet(folder))


def as_frame_of_csv(folder: Path) -> Any:
    # As it stands: codes are words, which pandas cannot know.
    pandas = pytest.importorskip("pandas")
    return pandas.read_csv(as_csv(folder), dtype={"code": str})


FORMS: dict[str, Callable[[Path], Any]] = {
    name.removeprefix("as_"): form for name, form in list(globals().items()) if name[:3] == "as_"
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_gives_equal_tensors_in_every_form(form, folder):
    expected = tensors_of(read_table(COLUMNS, folder))
    source = FORMS[form](folder)
    root = None if isinstance(source, Path) else folder  # a file knows where it lies
    same(tensors_of(read_table(source, root)), expected)


@pytest.mark.parametrize("form", ["columns", "csv", "json_lines", "odd_types", "parquet", "frame"])
def test_a_table_that_a_client_sends_gives_equal_tensors_on_the_server(form, folder):
    expected = tensors_of(read_table(COLUMNS, folder))
    full, _ = SCHEMA.conform(read_table(FORMS[form](folder), folder))
    sent, errors = to_wire(SCHEMA, full)
    received, faults = from_wire(SCHEMA, sent)
    assert errors == faults == []
    same(tensors_of(received), expected)


def test_the_sample_holds_what_it_is_there_to_try(folder):
    tensors = tensors_of(read_table(COLUMNS, folder))
    numbers, codes = tensors["table_numbers"], tensors["table_categories"]
    gaps = sum(cell is None for cells in NUMBERS.values() for cell in cells)
    assert np.isnan(numbers).sum() == gaps > 0
    assert (codes != 1).all()  # no category is unseen
    assert codes[1, 0] == 0  # the word NA is a gap
    assert len(set(codes[:4, 1])) == 4  # 007 is not 7
    assert tensors["image_valid"].tolist() == [[1, 1, 1], [1, 0, 0], [0, 1, 0], [1, 1, 1], [0] * 3]
    assert tensors["text_mask"].sum() > 60


PICTURE = pixels(7, 30, 20)
FILE = png(7, 30, 20)


TEXT = base64_of(FILE)
PICTURE_FORMS: dict[str, Callable[[Path], object]] = {
    "absolute path": str,
    "relative path": lambda path: path.name,
    "path among others": lambda path: f"{path.name};",
    "Path": lambda path: path,
    "relative Path": lambda path: Path(path.name),
    "bytes": lambda path: FILE,
    "bytearray": lambda path: bytearray(FILE),
    "memoryview": lambda path: memoryview(FILE),
    "base64": lambda path: TEXT,
    "base64 in lines": lambda path: base64.encodebytes(FILE).decode(),
    "data URI": lambda path: f"data:image/png;base64,{TEXT}",
    "PIL": Image.open,
    "array": lambda path: PICTURE,
    "array, channels first": lambda path: np.moveaxis(PICTURE, 2, 0),
    "array of floats": lambda path: PICTURE.astype(np.float32) / 255,
    "as datasets write it": lambda path: {"bytes": FILE, "path": None},
    "as datasets write a path": lambda path: {"bytes": None, "path": path.name},
}


@pytest.mark.parametrize("form", PICTURE_FORMS)
def test_a_picture_gives_equal_pixels_in_every_form_alone_and_in_lists(form, tmp_path):
    processor = ImageProcessor("image", 16, 16, (ImageColumn("photo", 2),))
    schema = Schema((Column("photo", "image"),))

    (tmp_path / "x.png").write_bytes(FILE)

    def pixels_of(cells: Sequence[object], root: Path | None = tmp_path) -> Tensors:
        full, _ = schema.conform(read_table({"photo": cells}, root))
        tensors, errors = processor.transform(full)
        assert errors == []
        return tensors

    cell = PICTURE_FORMS[form](tmp_path / "x.png")
    other = png(8)
    same(pixels_of([cell, None]), pixels_of([FILE, None], None))
    pair = np.empty(2, object)
    pair[:] = [cell, other]
    for cells in ([cell, other], (cell, other), pair):
        same(pixels_of([cells]), pixels_of([[FILE, other]], None))


def test_paths_parted_by_semicolons_are_several_pictures(folder):
    schema = Schema((Column("photo", "image"),))
    processor = ImageProcessor("image", 16, 16, (ImageColumn("photo", 3),))
    full, _ = schema.conform(read_table({"photo": ["a.png;c.png; sub/b.png"]}, folder))
    found, errors = processor.transform(full)
    expected, _ = processor.transform({"photo": [[png(0), png(2), png(1)]]})
    assert errors == []
    same(found, expected)


@pytest.mark.real
@pytest.mark.parametrize("name", ["ames_housing", "airbnb_nyc", "cloth_review"])
def test_real_rows_give_equal_tensors_as_parquet_csv_json_and_frame(name, real_data, tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(real_data(name)).head(300)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    frame.to_json(
        tmp_path / "rows.jsonl", orient="records", lines=True, date_format="iso",
        double_precision=15,
    )  # fmt: skip
    numbers = [c for c in frame if frame[c].dtype.kind in "if"]
    others = [c for c in frame if c not in numbers]
    # Every column in every role that its cells can play.
    tabular = TabularProcessor.fit("table", read_table(frame), numbers, list(frame))
    text = TextProcessor.fit("text", list(frame), word_tokenizer().to_str(), 1024)
    schema = Schema(tuple(Column(c, "number" if c in numbers else "text") for c in frame))
    assert numbers
    assert others

    def tensors(source: object) -> Tensors:
        full, _ = schema.conform(read_table(source))
        made, errors = tabular.transform(full)
        more, faults = text.transform(full)
        assert errors == faults == []
        return made | more

    expected = tensors(frame)
    for file in ("rows.csv", "rows.parquet", "rows.jsonl"):
        same(tensors(tmp_path / file), expected)


@pytest.mark.real
def test_real_pictures_give_equal_pixels_as_files_bytes_and_base64(real_data, tmp_path):
    pytest.importorskip("pyarrow")
    cells = read_table(real_data("emoji"))["image"]
    files = [cell for cell in cells if isinstance(cell, bytes)][:40]
    for row, content in enumerate(files):
        (tmp_path / f"{row}.png").write_bytes(content)
    processor = ImageProcessor("image", 32, 32, (ImageColumn("image"),))
    forms: list[list[object]] = [
        [str(tmp_path / f"{row}.png") for row in range(len(files))],
        [base64_of(content) for content in files],
        [Image.open(tmp_path / f"{row}.png") for row in range(len(files))],
    ]
    expected, errors = processor.transform({"image": files})
    assert errors == []
    for form in forms:
        same(processor.transform({"image": form})[0], expected)
