"""Long real texts: the longest field is cut first, alike in training, bundle and server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("torch")

from automm.predictor import MultiModalPredictor
from automm_serve.table import read_table
from automm_serve.tensors import Table, count_rows, take_rows
from tests.real.shortening import check_shortening, text_processor
from tests.real.small import ask_everywhere, fit, only, probabilities, served, settings

pytestmark = [pytest.mark.real, pytest.mark.triton]


class Long(NamedTuple):
    """A set of long texts, and what is learned of it."""

    name: str
    columns: tuple[str, ...]
    label: str
    limit: int


@pytest.fixture(
    scope="module",
    params=[
        Long("ag_news", ("title", "text"), "label", 48),
        Long("gnad10_small", ("text",), "label", 64),
    ],
    ids=lambda one: one.name,
)
def long(request: pytest.FixtureRequest, real_data: Callable[[str], Path]) -> tuple[Long, Table]:
    one: Long = request.param
    return one, only(read_table(real_data(one.name)), (*one.columns, one.label))


def test_long_texts_are_cut_alike_everywhere(long: tuple[Long, Table], tmp_path: Path) -> None:
    one, table = long
    every = count_rows(table) // 150
    train = take_rows(table, range(0, count_rows(table), every))
    small = settings(tmp_path, model__hf_text__max_text_len=one.limit, optim__max_epochs=1)
    predictor = MultiModalPredictor(
        label=one.label, path=tmp_path / "predictor", hyperparameters=small, verbosity=0
    )
    fit(predictor, train, column_types=dict.fromkeys(one.columns, "text"))
    rows = only(take_rows(table, range(1, 1 + 60 * every, every)), one.columns)
    with served(predictor, tmp_path / "bundle") as places:
        text = text_processor(places.bundle.pipeline)
        assert text == text_processor(predictor.exportable().pipeline)
        cut = check_shortening(text, rows)
        assert len(cut) > 50, "the control: of 60 rows hardly one was cut"
        expected = probabilities(ask_everywhere(places, rows))
        last = one.columns[-1]
        longer: Table = {**rows, last: [f"{cell} and what nobody reads" for cell in rows[last]]}
        found = probabilities(ask_everywhere(places, longer))
        np.testing.assert_allclose(found[cut], expected[cut], atol=1e-5)
        other: Table = {**rows, last: [f"so {cell}" for cell in rows[last]]}
        changed = probabilities(ask_everywhere(places, other))
        assert (np.abs(changed - expected).max(axis=1) > 1e-6).mean() > 0.9, "the control"
