"""Teachers, trained once for all files of this folder."""

import json

import pytest

pytest.importorskip("torch")

from tests.automm.teacher.teaching import SMALL, fit, points
from tests.automm.training.running import TYPES, settings, table


@pytest.fixture(scope="session")
def teacher(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("teacher") / "t", points(400, 0), SMALL)


@pytest.fixture(scope="session")
def of_pets(tmp_path_factory):
    """A teacher of text, numbers and categories, and the settings of a smaller student."""
    folder = tmp_path_factory.mktemp("pets")
    given = settings(folder, optim__max_epochs=2)
    known = fit(folder / "t", table(90), given, column_types=TYPES)
    student = settings(folder, optim__top_k=2) | {
        "model.names": ["numerical_mlp", "categorical_mlp", "fusion_mlp"],
        "model.fusion_mlp.hidden_sizes": [24],
    }
    return known, student


@pytest.fixture(scope="session")
def lists(tmp_path_factory):
    """A file of pets."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    cells = table(60)
    rows = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path
