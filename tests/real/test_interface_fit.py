"""How real rows are learned: time limits, settings, further rows, kills, AutoGluon's scripts."""

from __future__ import annotations

import json
import runpy
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("torch")

from safetensors.numpy import load_file

from automm.predictor import MultiModalPredictor
from automm.training.resume import STATE
from automm_serve.errors import BundleError
from automm_serve.table import read_table
from automm_serve.tensors import count_rows
from tests.automm.cli.answering import run
from tests.automm.training.running import output, start
from tests.real.small import (
    LABEL,
    Places,
    ask_everywhere,
    emoji_rows,
    fit,
    path_of,
    probabilities,
    served,
    write_emoji_files,
)

pytestmark = pytest.mark.real


class Files(NamedTuple):
    """``train.csv``, ``test.csv`` and ``new.csv`` of emoji, and settings of a small model."""

    folder: Path
    small: dict[str, Any]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("files")
    return Files(folder, write_emoji_files(folder))


@pytest.fixture(scope="module")
def further(files: Files) -> Iterator[tuple[MultiModalPredictor, Places]]:
    """A predictor that was fitted twice, on other rows the second time; and the first, loaded."""
    folder = files.folder
    first = MultiModalPredictor(
        label=LABEL, path=folder / "first", hyperparameters=files.small, verbosity=0
    )
    fit(first, folder / "train.csv", hyperparameters={"optim.max_epochs": 2})
    more, _ = emoji_rows(first=5)
    again = MultiModalPredictor.load(folder / "first", verbosity=0)
    fit(again, more, save_path=folder / "again", hyperparameters={"optim.max_epochs": 8})
    with served(again, folder / "bundle") as places:
        yield first, places


@pytest.mark.triton
def test_a_second_fit_goes_on_from_the_first_and_serves(
    further: tuple[MultiModalPredictor, Places], files: Files
) -> None:
    first, places = further
    rows = read_table(files.folder / "new.csv")
    found = probabilities(ask_everywhere(places, rows))
    before = first.predict_proba(rows)
    assert np.abs(found - before).max() > 1e-3
    test = files.folder / "test.csv"
    metric = "log_loss"
    assert places.client.evaluate(test, [metric])[metric] < first.evaluate(test, [metric])[metric]
    kept = MultiModalPredictor.load(files.folder / "first").predict_proba(rows)
    np.testing.assert_array_equal(kept, before)


def test_a_time_limit_ends_a_fit_that_would_go_on(files: Files, tmp_path: Path) -> None:
    endless = {"optim.max_epochs": 9999, "optim.patience": 9999}
    predictor = MultiModalPredictor(
        label=LABEL, path=tmp_path / "p", hyperparameters=files.small, verbosity=0
    )
    began = time.monotonic()
    fit(predictor, files.folder / "train.csv", time_limit=4, hyperparameters=endless)
    # The limit is exact from a minute on (tests/automm/training/test_clock.py); here it is an end.
    assert time.monotonic() - began < 30
    assert predictor.fit_summary()["stopped"] == "time_limit"
    assert len(predictor.predict(files.folder / "new.csv"))


def test_settings_in_every_spelling_are_the_same_fit(files: Files, tmp_path: Path) -> None:
    spelt: dict[str, Any] = {
        "dict": {"optim.lr": 1e-3, "optim.max_epochs": 1},
        "list": ["optim.lr=1e-3", "optim.max_epochs=1"],
        "text": "optim.lr=1e-3 optim.max_epochs=1",
        "nested": {"optim": {"lr": 1e-3, "max_epochs": 1}},
    }
    small = {**files.small, "model.names": ["numerical_mlp", "categorical_mlp", "fusion_mlp"]}
    table, _ = emoji_rows(("unicode_version", "n_keywords", "facebook", LABEL))
    weights = set()
    for name, given in spelt.items():
        predictor = MultiModalPredictor(
            label=LABEL, path=tmp_path / name, hyperparameters=small, verbosity=0
        )
        fit(predictor, table, hyperparameters=given)
        weights.add((path_of(predictor) / "model.safetensors").read_bytes())
    assert len(weights) == 1


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"presets": "medium_qualty"}, "'medium_quality'"),
        ({"hyperparameters": {"optim.max_epoch": 1}}, r"'optim\.max_epochs'"),
        ({"column_types": {"keyword": "text"}}, "'keywords'"),
        ({"time_limits": 60}, "'time_limit'"),
    ],
)
def test_the_nearest_name_is_offered(
    named: dict[str, Any], says: str, files: Files, tmp_path: Path
) -> None:
    predictor = MultiModalPredictor(label=LABEL, path=tmp_path / "p", verbosity=0)
    with pytest.raises(ValueError, match=says):
        predictor.fit(files.folder / "train.csv", **named)
    assert not (tmp_path / "p").exists()


def test_a_fit_that_was_killed_goes_on_by_one_command_to_the_same_weights(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOMM_THREADS", "1")
    given = {**files.small, "data.modality_dropout": 0.2, "optim.max_epochs": 7}
    words = [part for key, value in given.items() for part in ("-o", f"{key}={value}")]
    command = ["train", files.folder / "train.csv", "--label", LABEL, *words, "--json", "--out"]
    whole = run(*command, tmp_path / "whole")
    assert whole.exit_code == 0, whole.output

    process = start("-m", "automm.cli.main", *command, tmp_path / "killed")
    state = tmp_path / "killed" / STATE
    try:
        for _ in range(6000):  # two minutes
            if state.is_file() and len(json.loads(state.read_bytes())["progress"]["history"]) > 1:
                break
            assert process.poll() is None, output(process).read()
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
        output(process).close()
    assert process.returncode < 0, "it ended by itself before it was killed"
    assert not (tmp_path / "killed" / "predictor.json").exists()
    with pytest.raises(BundleError, match=r"cut off.*resume=True"):
        MultiModalPredictor.load(tmp_path / "killed")

    resumed = run("train", "--resume", tmp_path / "killed", "--json")
    assert resumed.exit_code == 0, resumed.output
    one, other = (json.loads(found.stdout)["summary"] for found in (whole, resumed))
    assert one["history"] == other["history"]
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed")]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        np.testing.assert_array_equal(weights[1][name], tensor, err_msg=name)


SCRIPT = """
import os
import pandas as pd
from autogluon.multimodal import MultiModalPredictor

train_data = pd.read_csv("train.csv")
test_data = pd.read_csv("test.csv")
label_col = "group"
image_col = "image"
for data in (train_data, test_data):
    data[image_col] = data[image_col].apply(lambda ele: ele.split(";")[0])
    data[image_col] = data[image_col].apply(lambda ele: os.path.abspath(ele))

predictor = MultiModalPredictor(label=label_col, path="model", verbosity=0)
predictor.fit(
    train_data=train_data, time_limit=120, hyperparameters=hyperparameters, seed=123,
)
predictions = predictor.predict(test_data.drop(columns=label_col))
probas = predictor.predict_proba(test_data.drop(columns=label_col))
scores = predictor.evaluate(test_data, metrics=["accuracy", "log_loss"])
embeddings = predictor.extract_embedding(test_data.drop(columns=label_col))
loaded_predictor = MultiModalPredictor.load("model")
scores2 = loaded_predictor.evaluate(test_data, metrics=["accuracy", "log_loss"])
"""
"""After AutoGluon's quick start of pictures, texts and tables, on emoji."""


@pytest.mark.filterwarnings("ignore")
def test_a_script_of_autogluon_runs_on_emoji_with_one_import_changed(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pandas")
    old, new = "from autogluon.multimodal import", "from automm import"
    assert SCRIPT.count(old) == 1
    (files.folder / "script.py").write_text(SCRIPT.replace(old, new))
    monkeypatch.chdir(files.folder)
    monkeypatch.setitem(sys.modules, "autogluon", types.ModuleType("autogluon"))
    ran = runpy.run_path("script.py", {"hyperparameters": files.small})
    rows = count_rows(read_table(files.folder / "test.csv"))
    assert ran["scores"] == ran["scores2"]
    assert ran["scores"]["accuracy"] > 0.25  # of one group it is 0.22
    assert (ran["predictions"].name, len(ran["predictions"])) == (LABEL, rows)
    assert ran["probas"].shape == (rows, 9)
    assert (ran["probas"].idxmax(axis=1) == ran["predictions"]).all()
    assert len(ran["embeddings"]) == rows
