"""Three real sets, from their files to a client of the real server: equal answers, and good ones.

Each set is trained small, exported, opened as a bundle and served; every row of its test split is
answered by torch, by the bundle and by Triton. Figures that are compared with are the trivial
predictor's on the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from automm.predictor import MultiModalPredictor
from automm_serve.agreement import compare_answers
from automm_serve.bundle import load
from automm_serve.table import is_gap, read_table
from automm_serve.tensors import Table, count_rows, take_rows
from automm_serve.triton.client import Client
from automm_serve.triton.launch import TritonServer
from tests.needs import find_triton
from tests.real.emoji import emoji_tables

pytestmark = [pytest.mark.real, pytest.mark.triton]

SMALL = {"optim.max_epochs": 2, "optim.val_check_interval": 1.0}


class RealSet(NamedTuple):
    """A set, cut to what trains in seconds.

    Attributes:
        label: What is learned.
        columns: What it is learned from.
        train: Rows to learn from.
        test: Rows to answer.
        hyperparameters: Beside those of ``SMALL``.
    """

    label: str
    columns: tuple[str, ...]
    train: Table
    test: Table
    hyperparameters: dict[str, Any]


def emoji(_: Callable[[str], Path]) -> RealSet:
    """A picture, text with gaps, numbers with gaps, categories; nine classes."""
    columns = (
        "image", "keywords", "emoticon", "unicode_version", "n_code_points", "n_keywords",
        "au_code", "softbank_code", "docomo_code", "has_zwj", "presentation", "facebook",
    )  # fmt: skip
    train, test = emoji_tables()
    # Rows are ordered by group: every third one keeps the shares of the groups.
    return RealSet("group", columns, take_rows(train, range(0, count_rows(train), 3)), test, {})


def houses(real_data: Callable[[str], Path]) -> RealSet:
    """Four columns of pictures and numbers; the logarithm of the price."""
    table = dict(read_table(real_data("houses")))
    table["log_price"] = np.log(np.array(table["price"], float)).tolist()
    columns = (
        "frontal", "bedroom", "bathroom", "kitchen",
        "n_bedrooms", "n_bathrooms", "area", "zipcode",
    )  # fmt: skip
    train, test = _split(table)
    return RealSet("log_price", columns, train, test, {"optim.max_epochs": 3})


def cloth_review(real_data: Callable[[str], Path]) -> RealSet:
    """Two texts with gaps, numbers, categories; the rating as a number."""
    train, test = _split(read_table(real_data("cloth_review")))
    columns = (
        "title", "review_text", "age", "positive_feedback_count",
        "clothing_id", "division_name", "department_name", "class_name",
    )  # fmt: skip
    limits = {"model.hf_text.max_text_len": 32}
    return RealSet("rating", columns, take_rows(train, range(800)), test, limits)


@pytest.mark.parametrize("make", [emoji, houses, cloth_review], ids=lambda make: make.__name__)
def test_a_real_set_is_answered_well_and_equally_everywhere(
    make: Callable[[Callable[[str], Path]], RealSet],
    real_data: Callable[[str], Path],
    tmp_path: Path,
):
    find_triton()
    data = make(real_data)
    regression = data.label != "group"
    predictor = MultiModalPredictor(
        label=data.label,
        problem_type="regression" if regression else "multiclass",
        path=str(tmp_path / "predictor"),
        hyperparameters=SMALL | data.hyperparameters,
    )
    predictor.fit(_only(data.train, (*data.columns, data.label)), seed=0)
    predictor.export(tmp_path / "bundle")

    rows = _only(data.test, data.columns)
    answer = predictor.answers["predict"]
    expected = predictor.run(rows)
    assert not expected.errors
    bundle = load(tmp_path / "bundle")
    for parity in compare_answers(
        "onnxruntime", "predict", answer, expected.columns, bundle.run(rows).columns
    ):
        assert parity.holds, parity
    with TritonServer(tmp_path / "bundle") as server:
        # HTTP differs from gRPC in how bytes travel, which a few rows show as well as all.
        for scheme, count in (("grpc", count_rows(rows)), ("http", 40)):
            asked = range(count)
            with Client(server.url(scheme)) as client:
                found = client.run(take_rows(rows, asked)).columns
            wanted = take_rows(expected.columns, asked)
            for parity in compare_answers("triton", "predict", answer, wanted, found):
                assert parity.holds, (scheme, parity)

    ours, trivial = _errors(expected.columns[data.label], data, regression)
    assert ours < trivial


def _errors(found: Sequence[object], data: RealSet, regression: bool) -> tuple[float, float]:
    """The error of these answers and of the trivial ones: RMSE, or the share of wrong classes."""
    truth = data.test[data.label]
    seen = [cell for cell in data.train[data.label] if not is_gap(cell)]
    if regression:
        wanted = np.array(truth, float)
        mean = np.mean(np.array(seen, float))
        return _rmse(np.array(found, float) - wanted), _rmse(mean - wanted)
    commonest = max(set(seen), key=seen.count)
    wanted = np.array(truth, object)
    return float(np.mean(np.array(found, object) != wanted)), float(np.mean(commonest != wanted))


def _rmse(error: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(error**2)))


def _split(table: Table) -> tuple[Table, Table]:
    rows = {
        name: [row for row, cell in enumerate(table["split"]) if cell == name]
        for name in ("train", "test")
    }
    return take_rows(table, rows["train"]), take_rows(table, rows["test"])


def _only(table: Table, names: Sequence[str]) -> Table:
    """These columns; a table of a file stays one, for its pictures' paths."""
    kept = take_rows(table, range(count_rows(table)))
    for name in set(kept) - set(names):
        del kept[name]
    return kept
