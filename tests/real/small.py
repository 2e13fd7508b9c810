"""A model of emoji rows that trains in seconds, and its answers compared at three places."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from automm.predictor import MultiModalPredictor
from automm.training.fit import FitWarning
from automm_serve.agreement import compare_answers
from automm_serve.bundle import load
from automm_serve.predictions import Predictions
from automm_serve.predictor import LocalPredictor
from automm_serve.tensors import FileTable, Table, count_rows, take_rows
from automm_serve.triton.client import Client
from automm_serve.triton.launch import ServerOptions, TritonServer
from tests.needs import find_triton
from tests.real.emoji import emoji_tables
from tests.tiny_models import make_image_model, make_text_model

LABEL = "group"
COLUMNS = (
    "image", "keywords", "name",
    "unicode_version", "n_keywords", "n_skin_variants", "facebook",
)  # fmt: skip
"""A picture, two texts, three numbers, a category; gaps in two of them."""


class Places(NamedTuple):
    """The same model wherever it answers: on torch, from its bundle, on Triton."""

    trained: MultiModalPredictor
    bundle: LocalPredictor
    client: Client


def settings(folder: Path, **changes: object) -> dict[str, Any]:
    """Settings with which 150 rows are learned in five seconds, better than by guessing."""
    if not (folder / "text").exists():
        make_text_model(folder / "text", spread=True)
        make_image_model(folder / "image", spread=True)
    return {
        "model.hf_text.checkpoint_name": str(folder / "text"),
        "model.hf_text.max_text_len": 32,
        "model.hf_text.frozen_blocks": 0,
        "model.timm_image.checkpoint_name": str(folder / "image"),
        "model.timm_image.image_size": 32,
        "model.timm_image.frozen_blocks": 0,
        "model.ft_transformer.token_dim": 16,
        "model.ft_transformer.num_blocks": 1,
        "model.fusion_mlp.adapt_in_features": 16,
        "optim.lr": 3e-3,
        "optim.max_epochs": 10,
        "optim.val_check_interval": 1.0,
        "env.batch_size": 16,
        "env.per_gpu_batch_size": 16,
        "env.accelerator": "cpu",
        **{key.replace("__", "."): value for key, value in changes.items()},
    }


def emoji_rows(
    columns: Sequence[str] = (*COLUMNS, LABEL), every: int = 10, first: int = 0
) -> tuple[Table, Table]:
    """Return some training rows, all groups among them, and all test rows; pictures are paths."""
    train, test = emoji_tables()
    return (
        only(take_rows(train, range(first, count_rows(train), every)), columns),
        only(test, columns),
    )


def only(table: Table, names: Sequence[str]) -> dict[str, list[object]]:
    """These columns; a table of a file stays one, for its pictures' paths."""
    kept = take_rows(table, range(count_rows(table)))
    for name in set(kept) - set(names):
        del kept[name]
    return kept


def fit(predictor: MultiModalPredictor, rows: object, **named: Any) -> MultiModalPredictor:
    """Fit; what a few rows and epochs teach need not beat the trivial predictor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return predictor.fit(rows, **named)


@contextmanager
def served(trained: MultiModalPredictor, folder: Path) -> Iterator[Places]:
    """Export the predictor into the folder, open the bundle, serve it."""
    find_triton()
    trained.export(folder)
    options = ServerOptions(exit_timeout_s=2)
    with TritonServer(folder, options) as server, Client(server.url()) as client:
        yield Places(trained, load(folder), client)


def ask_everywhere(places: Places, rows: Table, program: str = "predict") -> Predictions:
    """Return what torch answers, where bundle and server answer as it does, row errors too."""
    expected = places.trained.run(rows, program)
    answer = places.trained.answers[program]
    for where, place in (("onnxruntime", places.bundle), ("triton", places.client)):
        found = place.run(rows, program)
        assert [(e.row, e.column) for e in found.errors] == [
            (e.row, e.column) for e in expected.errors
        ], where
        for parity in compare_answers("triton", program, answer, expected.columns, found.columns):
            assert parity.holds, (where, parity)
    return expected


def probabilities(found: Predictions) -> NDArray[np.float32]:
    """Of every class, one row each; no row has failed."""
    assert found.errors == []
    return np.array(found.columns["probabilities"], np.float32)


def path_of(predictor: MultiModalPredictor) -> Path:
    """Return where it is saved."""
    assert predictor.path is not None
    return predictor.path


def write_emoji_files(folder: Path) -> dict[str, Any]:
    """Write ``train.csv``, ``test.csv`` and ``new.csv`` without label; return small settings."""
    train, test = emoji_rows()
    few = take_rows(test, range(0, count_rows(test), 4))
    new = only(few, COLUMNS)
    for name, table in (("train", train), ("test", few), ("new", new)):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([list(table), *zip(*table.values(), strict=True)])
    assert isinstance(train, FileTable)
    if not (folder / "images").exists():
        (folder / "images").symlink_to(Path(str(train.root)) / "images")
    return settings(folder)
