"""Small fits of the emoji set, and one Triton server that answers by each bundle that they give."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from automm.predictor import MultiModalPredictor
from automm.training.fit import FitWarning
from automm_export.export import ExportOptions
from automm_serve.agreement import compare_answers
from automm_serve.answers import ClassesAnswer
from automm_serve.bundle import load
from automm_serve.predictor import LocalPredictor
from automm_serve.tensors import Table, count_rows, take_rows
from automm_serve.triton.client import Client
from automm_serve.triton.launch import ServerOptions, TritonServer
from tests.needs import find_triton
from tests.real.emoji import emoji_tables
from tests.tiny_models import make_image_model, make_text_model

NUMBERS = ("unicode_version", "n_code_points", "au_code", "docomo_code")
CATEGORIES = ("has_zwj", "presentation")
TABLE = (*NUMBERS, *CATEGORIES)
ALL = ("image", "keywords", *TABLE)
"""A picture, a text and a table with gaps; no column that gives the group away."""

PEOPLE = ("Smileys & Emotion", "People & Body")
LABELS = {"people": "binary", "group": "multiclass", "n_keywords": "regression"}

FEW = 10
"""One row in so many is learnt from: 152 of them. They are ordered by group, so all groups stay."""


def emoji_rows(
    columns: Sequence[str] = ALL, label: str = "group", *, first: int = 0, every: int = FEW
) -> tuple[Table, Table]:
    """Return few rows to learn from, and 79 to answer: all their gaps, and one more a column."""
    train, test = emoji_tables()
    few = range(first, count_rows(train), every)
    kept = [take_rows(train, few), take_rows(test, range(0, count_rows(test), 5))]
    for table in kept:
        table["people"] = [group in PEOPLE for group in table["group"]]
        for name in set(table) - {*columns, label}:
            del table[name]
    for row, name in enumerate(columns, start=1):
        kept[1][name][0] = kept[1][name][row] = None
    return kept[0], kept[1]


def towers(folder: Path, text: str = "BERT", image: str = "EfficientNet") -> dict[str, object]:
    """Write a tiny checkpoint of each family, as a hub's snapshot is; return their settings."""
    places = {"text": folder / text.replace(" ", "_"), "image": folder / image}
    if not places["text"].exists():
        make_text_model(places["text"], text, spread=True)
    if not places["image"].exists():
        make_image_model(places["image"], image, spread=True)
    return {
        "model.hf_text.checkpoint_name": str(places["text"]),
        "model.hf_text.max_text_len": 32,
        "model.hf_text.frozen_blocks": 0,
        "model.timm_image.checkpoint_name": str(places["image"]),
        "model.timm_image.image_size": None,
        "model.timm_image.frozen_blocks": 0,
    }


SMALL: Mapping[str, object] = {
    "model.ft_transformer.token_dim": 16,
    "model.ft_transformer.num_blocks": 1,
    "model.fusion_mlp.adapt_in_features": 32,
    "optim.max_epochs": 2,
    "optim.lr": 1e-3,
    "optim.val_check_interval": 1.0,
    "env.batch_size": 16,
    "env.per_gpu_batch_size": 16,
    "env.accelerator": "cpu",
}


def fit(
    path: Path,
    rows: object,
    *settings: Mapping[str, object],
    label: str = "group",
    eval_metric: str | None = None,
    **named: Any,
) -> MultiModalPredictor:
    """Fit on what ``SMALL`` and the settings say."""
    predictor = MultiModalPredictor(
        label=label,
        problem_type=LABELS.get(label),
        eval_metric=eval_metric,
        path=path,
        verbosity=0,
    )
    return go_on(predictor, rows, SMALL, *settings, **named)


def go_on(
    predictor: MultiModalPredictor, rows: object, *settings: Mapping[str, object], **named: Any
) -> MultiModalPredictor:
    """Call ``fit``; some seconds need not beat a linear model, and warnings would say so."""
    given = {key: value for part in settings for key, value in part.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return predictor.fit(rows, hyperparameters=given, **named)


def losses(predictor: MultiModalPredictor) -> list[float]:
    """The loss of training at each validation."""
    return [entry["loss"] for entry in predictor.fit_summary()["history"]]


class Served:
    """A server that begins with the first bundle and takes over each other one; a context."""

    def __init__(self) -> None:
        self._server: TritonServer | None = None
        self._bundle: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.stop()

    def client(self, bundle: Path, scheme: str = "grpc") -> Client:
        """Return a client of the bundle; skip the test where there is no server."""
        if self._server is None:
            find_triton()
            self._server = TritonServer(bundle, ServerOptions(exit_timeout_s=2))
        elif self._bundle != bundle:
            self._server.swap(bundle)
        self._bundle = bundle
        return Client(self._server.url(scheme))


def check_everywhere(
    predictor: MultiModalPredictor, rows: Table, served: Served, bundle: Path
) -> LocalPredictor:
    """Export; bundle and Triton answer as torch does, and every column has a say in the answer.

    Returns:
        The bundle, opened.
    """
    predictor.export(bundle, ExportOptions(name="emoji"))
    local = load(bundle, threads=1)
    columns = [column.name for column in local.pipeline.schema.columns]
    assert columns
    asked = [rows, *(_changed(rows, [name]) for name in columns), _changed(rows, columns)]
    answers = [predictor.run(table) for table in asked]
    assert not any(answer.errors for answer in answers)
    found = [local.run(table).columns for table in asked]
    for one, other in zip(answers, found, strict=True):
        check_alike(predictor, one.columns, other, "onnxruntime")
    for name, other in zip(columns, found[1:-1], strict=True):
        assert _distance(predictor, found[0], other) > 1e-4, f"{name} changes nothing"
    with served.client(bundle) as client:
        for place in (0, -1):
            answer = client.run(asked[place]).columns
            check_alike(predictor, answers[place].columns, answer, "triton")
    return local


def check_alike(predictor: MultiModalPredictor, one: Table, other: Table, where: Any) -> None:
    """See that two answers are equal within the product's own tolerances."""
    answer = predictor.answers["predict"]
    for parity in compare_answers(where, "predict", answer, one, other):
        assert parity.holds, parity


def _changed(rows: Table, names: Sequence[str]) -> Table:
    """Let these columns have the cells of rows far away, mostly of another group."""
    changed = take_rows(rows, range(count_rows(rows)))
    half = count_rows(rows) // 2
    for name in names:
        changed[name] = changed[name][half:] + changed[name][:half]
    return changed


def _distance(predictor: MultiModalPredictor, one: Table, other: Table) -> float:
    answer = predictor.answers["predict"]
    column, scale = answer.columns[0].name, 1.0
    if isinstance(answer, ClassesAnswer):
        column = answer.probabilities_column
    pair = [np.asarray(list(table[column]), float) for table in (one, other)]
    if not isinstance(answer, ClassesAnswer):
        scale = float(np.std(pair[0]))
    return float(np.abs(pair[0] - pair[1]).max()) / scale
