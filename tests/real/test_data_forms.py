"""Real rows in every form that a table and a picture may have: learned and answered alike.

One small model is trained on a CSV file with paths, exported and served; every form of the same
rows is then asked on torch, in the bundle and through a client.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pyarrow")
pytest.importorskip("pandas")

from automm.data.rows import prepare_rows
from automm.predictor import MultiModalPredictor
from automm_serve.cells import is_gap
from automm_serve.table import read_table
from automm_serve.tensors import FileTable, Table, count_rows, take_rows
from tests.automm.cli.answering import read_csv, run
from tests.picture_forms import combinations, put_in_form
from tests.real.small import LABEL, Places, emoji_rows, fit, path_of, served, settings

pytestmark = [pytest.mark.real, pytest.mark.triton]

FORMS = [pytest.param(*both, id="-".join(both)) for both in combinations()]
KINDS = {
    "image": "image", "beside": "image", "keywords": "text", "name": "text", "facebook": "category",
    "unicode_version": "number", "n_keywords": "number", "n_skin_variants": "number",
}  # fmt: skip
NUMBERS = [name for name, kind in KINDS.items() if kind == "number"]
ASKED = 8


class Forms(NamedTuple):
    """What the tests ask, and with what.

    Attributes:
        places: The model, everywhere.
        pictures: Folder of the pictures.
        train: Rows as cells of Python, pictures as paths.
        asked: Others like them, without the label.
    """

    places: Places
    pictures: Path
    train: dict[str, list[Any]]
    asked: dict[str, list[Any]]


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forms]:
    folder = tmp_path_factory.mktemp("forms")
    few, test = emoji_rows(every=20)
    pictures = folder / "pictures"
    pictures.mkdir()
    train = _as_cells(few, pictures)
    asked = _as_cells(take_rows(test, range(0, 384, 384 // ASKED)), pictures)
    del asked[LABEL]
    table = put_in_form(pictures, "csv", "path", train)
    predictor = MultiModalPredictor(
        label=LABEL,
        path=folder / "predictor",
        hyperparameters=settings(folder, optim__max_epochs=3),
        verbosity=0,
    )
    with served(fit(predictor, table), folder / "bundle") as places:
        yield Forms(places, pictures, train, asked)


@pytest.fixture(scope="module")
def expected(forms: Forms) -> Any:
    plain = put_in_form(forms.pictures, "columns", "bytes", forms.asked)
    found = forms.places.trained.predict_proba(plain)
    assert len(np.unique(found, axis=0)) == count_rows(forms.asked), "the control: rows differ"
    return found


@pytest.mark.parametrize(("table", "form"), FORMS)
def test_every_form_gives_equal_tensors_and_equal_answers(
    table: str, form: str, forms: Forms, expected: Any
) -> None:
    trained, bundle, client = forms.places
    made = put_in_form(forms.pictures, table, form, forms.asked)
    root = forms.pictures
    found = trained.predict_proba(made, image_root=root, as_pandas=False)
    np.testing.assert_array_equal(found, expected)
    for place in (bundle, client):
        found = place.predict_proba(made, image_root=root, as_pandas=False)
        np.testing.assert_allclose(found, expected, atol=1e-5)

    tensors, plain = (
        _tensors_that_train(forms, read_table(one, root))
        for one in (made, put_in_form(root, "columns", "bytes", forms.asked))
    )
    assert tensors.keys() == plain.keys()
    pictures = sum(map(len, forms.asked["image"])) + ASKED - forms.asked["beside"].count(None)
    assert plain["timm_image_valid"].sum() == pictures, "the control: of every picture of a cell"
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, plain[name], name)


def test_a_changed_picture_changes_the_answer_of_its_row_alone(forms: Forms, expected: Any) -> None:
    others = forms.asked["image"][1:2] + forms.asked["image"][1:]
    assert others[0] != forms.asked["image"][0]
    made = put_in_form(forms.pictures, "columns", "bytes", {**forms.asked, "image": others})
    for place in forms.places:
        found = place.predict_proba(made)
        assert np.abs(found[0] - expected[0]).max() > 1e-4
        np.testing.assert_allclose(found[1:], expected[1:], atol=1e-5)


@pytest.mark.parametrize(
    ("table", "form"),
    [("csv", "path"), ("tsv", "base64"), ("parquet", "bytes"), ("jsonl", "path"), ("json", "path")],
)
def test_the_command_line_reads_every_kind_of_file(
    table: str, form: str, forms: Forms, expected: Any
) -> None:
    path = put_in_form(forms.pictures, table, form, forms.asked)
    bundle = path_of(forms.places.trained).parent / "bundle"
    found = run("predict", bundle, path, "--image-root", forms.pictures, "--proba")
    assert found.exit_code == 0, found.output
    rows = read_csv(found.stdout)
    numbers = [[float(row[f"probability_{name}"]) for name in _labels(forms)] for row in rows]
    np.testing.assert_allclose(numbers, expected, atol=1e-5)


def test_the_kind_and_the_form_of_every_column_are_told_with_rule_and_counts(forms: Forms) -> None:
    rows = count_rows(forms.train)
    expected = {
        "csv": {"path": "path", "base64": "base64"},
        "parquet": {"path": "path", "bytes": "bytes", "base64": "base64", "numbers": "array"},
        "jsonl": {"path": "path", "data URI": "base64"},
    }
    for table, subtypes in expected.items():
        for form, subtype in subtypes.items():
            path = put_in_form(forms.pictures, table, form, forms.train)
            found = run("info", path, "--label", LABEL, "--image-root", forms.pictures, "--json")
            told = msgspec.json.decode(found.stdout)
            assert told["problem_type"] == "multiclass"
            reasons = {one["name"]: one for one in told["reasons"]}
            assert {name: one["kind"] for name, one in reasons.items()} == KINDS, (table, form)
            assert reasons["image"]["subtype"] == reasons["beside"]["subtype"] == subtype
            for name, one in reasons.items():
                gaps = sum(is_gap(cell) or cell == [] for cell in forms.train[name])
                assert one["rule"]
                assert one["reason"]
                assert (one["counts"]["rows"], one["counts"]["missing"]) == (rows, gaps), name


def test_column_types_overrule_what_a_table_looks_like(forms: Forms) -> None:
    path = put_in_form(forms.pictures, "csv", "path", forms.train)
    types = {"n_keywords": "categorical", "name": "null", "facebook": "text"}
    words = [word for pair in types.items() for word in ("--column-type", "=".join(pair))]
    told = msgspec.json.decode(run("info", path, "--label", LABEL, *words, "--json").stdout)
    reasons = {one["name"]: one for one in told["reasons"]}
    kinds = {name: one["kind"] for name, one in reasons.items()}
    assert kinds == {**KINDS, "n_keywords": "category", "name": None, "facebook": "text"}
    assert {reasons[name]["rule"] for name in types} == {"given"}
    assert {column["name"] for column in told["schema"]["columns"]} == set(KINDS) - {"name"}


def test_the_same_rows_in_other_forms_train_the_same_model(forms: Forms, tmp_path: Path) -> None:
    few = {name: cells[:60] for name, cells in forms.train.items() if name != "name"}
    small = settings(path_of(forms.places.trained).parent, optim__max_epochs=1)
    small["model.names"] = ["timm_image", "numerical_mlp", "categorical_mlp", "fusion_mlp"]
    weights = {}
    for table, form in (
        ("parquet", "bytes"), ("frame", "PIL"), ("records", "array"), ("jsonl", "base64"),
        ("csv", "path"),
    ):  # fmt: skip
        made = put_in_form(forms.pictures, table, form, few)
        path = tmp_path / table
        predictor = MultiModalPredictor(
            label=LABEL, path=path, hyperparameters=small, verbosity=0, enable_progress_bar=False
        )
        kinds = {"keywords": "null", "facebook": "categorical"}
        fit(predictor, made, image_root=forms.pictures, column_types=kinds)
        weights[table] = (path / "model.safetensors").read_bytes()
    assert len(set(weights.values())) == 1, {name: hash(one) for name, one in weights.items()}


def _labels(forms: Forms) -> list[Any]:
    return forms.places.trained.class_labels or []


def _as_cells(table: Table, pictures: Path) -> dict[str, list[Any]]:
    """Cells as Python has them; some have two pictures, and a second column has some more."""
    assert isinstance(table, FileTable)
    cells: dict[str, list[Any]] = {
        name: [None if is_gap(cell) else cell for cell in column] for name, column in table.items()
    }
    for name in NUMBERS:
        cells[name] = [None if cell is None else float(cell) for cell in cells[name]]
    paths = [
        Path(shutil.copy(Path(str(table.root)) / str(cell), pictures)) for cell in cells["image"]
    ]
    after = [*paths[1:], paths[0]]
    cells["image"] = [
        [[one], [one, other], [one], []][row % 4]
        for row, (one, other) in enumerate(zip(paths, after, strict=True))
    ]
    cells["beside"] = [other if row % 3 else None for row, other in enumerate(after)]
    return cells


def _tensors_that_train(forms: Forms, table: Table) -> dict[str, Any]:
    """The tensors of these rows as a batch of training has them."""
    pipeline = forms.places.trained.exportable().pipeline
    answer = pipeline.programs["predict"].answer
    rows = count_rows(table)
    labelled = {**pipeline.schema.conform(table)[0], LABEL: forms.train[LABEL][:rows]}
    made, left_out = prepare_rows("rows", labelled, pipeline.processors, answer, 1 << 30)
    assert left_out == []
    return {name: one.numpy() for name, one in made.batch(range(rows)).tensors.items()}
