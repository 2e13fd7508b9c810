"""Every form of table with every form of picture: equal columns, tensors and answers."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pyarrow")
pytest.importorskip("pandas")

from automm.data.infer import infer_schema
from automm.data.rows import prepare_rows
from automm_export.session import TorchSession
from automm_serve.answers import ValuesAnswer
from automm_serve.bundle import load
from automm_serve.pipeline import Pipeline
from automm_serve.predictor import LocalPredictor
from automm_serve.table import read_table
from automm_serve.tensors import Table, Tensors
from automm_serve.wire import from_wire, to_wire
from tests.automm_export.tiny import export_tiny, exportable
from tests.picture_forms import ROWS, combinations, make_table, write_pictures

FORMS = [pytest.param(*both, id="-".join(both)) for both in combinations()]
KINDS = {"front": "image", "back": "image", "age": "number", "size": "number"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("pictures")
    write_pictures(made)
    return made


@pytest.fixture(scope="module")
def trained():
    """The graph of a predictor on torch, as the predictor itself runs it."""
    part = exportable()
    return LocalPredictor(part.pipeline, {n: TorchSession(g) for n, g in part.graphs.items()})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load(export_tiny(tmp_path_factory.mktemp("forms") / "bundle"), threads=1)


def tensors_of(pipeline: Pipeline, table: Table) -> Tensors:
    full, warnings = pipeline.schema.conform(table)
    assert warnings == []
    tensors: Tensors = {}
    for processor in pipeline.processors:
        found, errors = processor.transform(full)
        assert errors == []
        tensors |= found
    return tensors


@pytest.fixture(scope="module")
def expected(folder, trained):
    table = read_table(make_table(folder, "columns", "bytes"), folder)
    tensors = tensors_of(trained.pipeline, table)
    # The control: the pictures are there, and differ from row to row.
    assert tensors["image_valid"].sum() == 13
    assert len(np.unique(tensors["image_pixels"].reshape(ROWS, -1), axis=0)) == ROWS
    return tensors


@pytest.mark.parametrize(("table", "form"), FORMS)
def test_training_and_serving_see_the_same_tensors(table, form, folder, trained, expected):
    made = read_table(make_table(folder, table, form), folder)
    pipeline = trained.pipeline
    for name, tensor in tensors_of(pipeline, made).items():
        np.testing.assert_array_equal(tensor, expected[name], name)

    label = {"price": [float(row) for row in range(ROWS)]}
    full, _ = pipeline.schema.conform(made)
    rows, left_out = prepare_rows(
        "rows", {**full, **label}, pipeline.processors, ValuesAnswer("price", 0.0, 1.0), 1 << 30
    )
    assert left_out == []
    batch = rows.batch(range(ROWS)).tensors
    for name in ("image_pixels", "image_valid", "tabular_numbers", "tabular_categories"):
        np.testing.assert_array_equal(batch[name], expected[name], name)

    sent, errors = to_wire(pipeline.schema, full)
    received, more = from_wire(pipeline.schema, sent)
    assert errors == more == []
    for name, tensor in tensors_of(pipeline, received).items():
        np.testing.assert_array_equal(tensor, expected[name], f"over the wire: {name}")


@pytest.mark.parametrize(("table", "form"), FORMS)
def test_the_columns_are_taken_for_what_they_are(table, form, folder):
    made = read_table(make_table(folder, table, form), folder)
    found = infer_schema(made, column_types={"colour": "categorical"})
    kinds = {column.name: column.kind for column in found.schema.columns}
    assert kinds | KINDS == kinds


@pytest.mark.parametrize(("table", "form"), FORMS)
def test_a_trained_predictor_and_its_bundle_answer_alike(table, form, folder, trained, bundle):
    plain = make_table(folder, "columns", "bytes")
    made = make_table(folder, table, form)
    for predictor in (trained, bundle):
        found = predictor.predict_proba(made, image_root=folder, as_pandas=False)
        np.testing.assert_array_equal(found, predictor.predict_proba(plain))
    np.testing.assert_allclose(found, trained.predict_proba(plain), atol=1e-5)
