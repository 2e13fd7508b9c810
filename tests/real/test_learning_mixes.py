"""Binary, multiclass and regression on mixes of real columns, from the fit to Triton."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

pytest.importorskip("torch")

from automm_export.export import ExportOptions
from automm_serve.bundle import load
from automm_serve.table import read_table
from automm_serve.tensors import take_rows
from tests.real.learning import (
    CATEGORIES,
    NUMBERS,
    TABLE,
    Served,
    check_everywhere,
    emoji_rows,
    fit,
    towers,
)
from tests.tiny_models import make_clip_model

pytestmark = [pytest.mark.real, pytest.mark.triton]

IMAGE, TEXT = ("image",), ("keywords",)
ONE_BLOCK = {"model.fusion_transformer.num_blocks": 1}

LINES: list[tuple[str, Sequence[str], Sequence[str]]] = [
    ("people", IMAGE, ["timm_image"]),
    ("people", CATEGORIES, ["categorical_mlp"]),
    ("people", TEXT + TABLE, ["hf_text_a", "hf_text_b", "ft_transformer", "fusion_mlp"]),
    ("people", IMAGE + TEXT + TABLE, ["clip", "ft_transformer", "fusion_mlp"]),
    ("group", IMAGE + TABLE, ["timm_image", "ft_transformer", "fusion_mlp"]),
    ("group", TABLE, ["numerical_mlp", "categorical_mlp", "fusion_transformer"]),
    ("group", TEXT + NUMBERS, ["hf_text", "numerical_mlp", "fusion_transformer"]),
    ("n_keywords", IMAGE, ["timm_image"]),
    ("n_keywords", NUMBERS, ["numerical_mlp"]),
    ("n_keywords", TABLE, ["ft_transformer"]),
    ("n_keywords", IMAGE + TEXT + TABLE, ["timm_image", "hf_text", "numerical_mlp",
                                          "categorical_mlp", "fusion_transformer"]),
]  # fmt: skip
"""Label of the emoji set, columns, models."""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served() as one:
        yield one


@pytest.mark.parametrize(
    ("label", "columns", "names"), LINES, ids=[f"{line[0]}-{'+'.join(line[2])}" for line in LINES]
)
def test_a_mix_of_emoji_columns(
    label: str, columns: Sequence[str], names: list[str], served: Served, tmp_path: Path
) -> None:
    train, test = emoji_rows(columns, label)
    given = towers(tmp_path) | ONE_BLOCK | {"model.names": names}
    if "hf_text_a" in names:
        given["model.hf_text_a.max_text_len"] = 16  # the two of a kind differ
    if "clip" in names:
        given["model.clip.checkpoint_name"] = str(make_clip_model(tmp_path / "c", spread=True))
    predictor = fit(tmp_path / "p", train, given, label=label)
    assert (predictor._fitted().trained.model.fusion is None) == (len(names) == 1)
    processors = {one.name for one in predictor.exportable().pipeline.processors}
    wanted = set(names) - {"clip", "fusion_mlp", "fusion_transformer"}
    wanted |= {"clip_image", "clip_text"} if "clip" in names else set()
    assert processors == wanted
    check_everywhere(predictor, test, served, tmp_path / "b")


def test_spam_is_told_better_than_by_chance(
    real_data: Callable[[str], Path], served: Served, tmp_path: Path
) -> None:
    table = read_table(real_data("spambase"))
    rows = {
        part: take_rows(table, [i for i, cell in enumerate(table["split"]) if cell == part][::9])
        for part in ("train", "test")
    }
    for part in rows.values():
        del part["split"]
    given = {"model.names": ["numerical_mlp"], "optim.lr": 3e-3, "optim.max_epochs": 6}
    predictor = fit(tmp_path / "p", rows["train"], given, label="label")
    assert predictor.problem_type == "binary"
    predictor.export(tmp_path / "b", ExportOptions(name="emoji"))  # the name that is served
    found = predictor.evaluate(rows["test"], metrics=["roc_auc", "accuracy"])
    assert found["roc_auc"] > 0.9  # in 2026 0.96
    assert load(tmp_path / "b").evaluate(rows["test"], [*found]) == pytest.approx(found)
    with served.client(tmp_path / "b") as client:
        assert client.evaluate(rows["test"], [*found]) == pytest.approx(found)
