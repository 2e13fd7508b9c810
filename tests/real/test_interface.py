"""From a CSV file of real rows to a server and back, as a user types it; Python says the same.

The preset has small towers here, so that the three lines of the README and the commands need no
settings; everything else is as a user has it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch")

import automm
from automm.config import presets
from automm.config.overrides import override
from automm.training.outcome import FitWarning
from automm_serve.predicts import Predicts
from automm_serve.table import read_table
from automm_serve.tensors import count_rows
from tests.automm.cli.answering import read_csv, run
from tests.needs import find_triton
from tests.real.small import LABEL, path_of, write_emoji_files

pytestmark = [pytest.mark.real, pytest.mark.triton]

FREE = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]


class Walk(NamedTuple):
    """What the commands left behind.

    Attributes:
        folder: With ``train.csv``, ``test.csv``, ``predictor`` and ``bundle``.
        said: What each command printed, as JSON.
        urls: Of the server.
    """

    folder: Path
    said: dict[str, Any]
    urls: dict[str, str]

    def everywhere(self) -> list[str]:
        """Return what commands and ``automm.load`` take for the model."""
        return [str(self.folder / "predictor"), str(self.folder / "bundle"), *self.urls.values()]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    folder = tmp_path_factory.mktemp("walk")
    small = write_emoji_files(folder)
    find_triton()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "edge", override(presets.find_preset("edge"), small))
        said = {
            "info": _told("info", folder / "train.csv", "--label", LABEL),
            "train": _told(
                "train", folder / "train.csv", "--label", LABEL, "--out", folder / "predictor"
            ),
        }
    said["export"] = _told("export", folder / "predictor", "--out", folder / "bundle")
    said["verify"] = _told("verify", folder / "bundle")
    command = [sys.executable, "-m", "automm.cli.main", "serve", str(folder / "bundle")]
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [*command, *FREE, "--json"], stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (folder / "stderr").read_text()
        facts = json.loads(line)
        yield Walk(folder, said, {name: facts[name] for name in ("grpc", "http")})
    finally:
        process.terminate()
        assert process.wait(60) == 0
    assert "Traceback" not in (folder / "stderr").read_text()


def test_every_step_from_data_to_server_is_one_command(walk: Walk) -> None:
    assert walk.said["info"]["problem_type"] == "multiclass"
    summary = walk.said["train"]["summary"]
    assert summary["beats_trivial"]
    assert summary["linear"] is not None
    assert walk.said["verify"]["ok"]
    assert (walk.folder / "predictor" / "report.html").is_file()
    answers = []
    for model in walk.everywhere():
        found = run("predict", model, walk.folder / "test.csv", "--proba")
        assert found.exit_code == 0, found.output
        answers.append(read_csv(found.stdout))
    assert len(answers[0]) == count_rows(read_table(walk.folder / "test.csv"))
    for others in answers[1:]:
        for one, other in zip(answers[0], others, strict=True):
            assert one[LABEL] == other[LABEL]
            numbers = [name for name in one if name not in (LABEL, "error")]
            found_numbers = [float(other[name]) for name in numbers]
            np.testing.assert_allclose(found_numbers, [float(one[n]) for n in numbers], atol=1e-5)
    for words in (("info",), ("predict", "--program", "embed")):
        for model in walk.everywhere()[:3]:
            rest = [walk.folder / "test.csv"] if words[0] == "predict" else ["--json"]
            assert run(words[0], model, *rest, *words[1:]).exit_code == 0


def test_evaluate_scores_alike_wherever_the_model_is(walk: Walk) -> None:
    names = ("accuracy", "f1_macro", "log_loss", "mcc")
    words = [word for name in names for word in ("--metric", name)]
    scores = [
        _told("evaluate", model, walk.folder / "test.csv", *words)["scores"]
        for model in walk.everywhere()
    ]
    assert list(scores[0]) == list(names)
    for others in scores[1:]:
        assert others == pytest.approx(scores[0], abs=1e-5)
    truth = read_table(walk.folder / "test.csv")[LABEL]
    commonest = max(set(truth), key=list(truth).count)
    assert scores[0]["accuracy"] > list(truth).count(commonest) / len(truth)


def test_every_call_is_the_same_on_predictor_bundle_and_server_and_needs_no_label(
    walk: Walk,
) -> None:
    places: list[Predicts] = [automm.load(model) for model in walk.everywhere()]
    labelled = read_table(walk.folder / "test.csv")
    rows = read_table(walk.folder / "new.csv")
    assert LABEL not in rows
    first = places[0]
    expected = first.predict(rows), first.predict_proba(rows), first.extract_embedding(rows)
    assert expected[1].shape == (count_rows(rows), 9)
    assert expected[2].shape[0] == count_rows(rows)
    assert expected[2].std(axis=0).max() > 1e-3, "the control: features differ from row to row"
    for place in places[1:]:
        assert place.class_labels == first.class_labels
        assert list(place.predict(rows)) == list(expected[0])
        np.testing.assert_allclose(place.predict_proba(rows), expected[1], atol=1e-5)
        scale = max(1.0, float(np.abs(expected[2]).max()))
        np.testing.assert_allclose(place.extract_embedding(rows), expected[2], atol=1e-5 * scale)
        assert place.evaluate(labelled) == pytest.approx(first.evaluate(labelled), abs=1e-5)


def test_three_lines_train_and_answer(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    small = write_emoji_files(walk.folder) | {"optim.max_epochs": 1}
    monkeypatch.setitem(presets.PRESETS, "edge", override(presets.find_preset("edge"), small))
    monkeypatch.chdir(walk.folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)  # of what one epoch comes to
        predictor = automm.MultiModalPredictor(label="group").fit("train.csv")
    answers = predictor.predict("test.csv")
    assert len(answers) == count_rows(read_table("test.csv"))
    assert set(answers) <= set(read_table("train.csv")[LABEL])
    assert path_of(predictor).parent.name == "AutoMMModels"


ANSWERS = """
import sys, time
from statistics import median
import automm
from automm_serve.table import read_table
from automm_serve.tensors import take_rows

predictor = automm.load({model!r})
rows = read_table({rows!r})
predictor.predict(rows, realtime=True)
predictor.predict_proba(rows)
predictor.extract_embedding(rows)
predictor.evaluate(rows)
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))

local = predictor._answering() if hasattr(predictor, "_answering") else predictor
stages = []
local.watch = lambda stage, seconds: stages.append(seconds)
rounds = []
for _ in range(3):
    ours = []
    for row in range(60):
        one = take_rows(rows, [row])
        stages.clear()
        began = time.perf_counter()
        local.run(one)
        ours.append(1000 * (time.perf_counter() - began - sum(stages)))
    rounds.append(median(ours))
print(min(rounds))
"""


@pytest.mark.parametrize("model", ["predictor", "bundle"])
def test_rows_are_answered_without_lightning_and_at_little_cost_of_our_own(
    walk: Walk, model: str
) -> None:
    code = ANSWERS.format(model=str(walk.folder / model), rows=str(walk.folder / "test.csv"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules, own_ms = done.stdout.splitlines()
    unwanted = {"lightning", "pytorch_lightning", "lightning_fabric"}
    unwanted |= {"torch", "transformers", "timm", "pandas"} if model == "bundle" else set()
    assert not unwanted & set(modules.split())
    assert float(own_ms) <= 0.5


def _told(*words: object) -> Any:
    """What a command says with ``--json``; it must succeed."""
    found = run(*words, "--json")
    assert found.exit_code == 0, found.output
    return msgspec.json.decode(found.stdout)
