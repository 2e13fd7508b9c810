"""What a fit of real rows decides, hands on to a student and says of itself, and where it is kept.

Thresholds and temperatures, distillation, the honest summary, logs and page, the recorded search;
and the way from a file to a served bundle by the command line.
"""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

from automm.config.presets import PRESETS
from automm.config.schema import Config
from automm.predictor import MultiModalPredictor
from automm_serve.bundle import load
from automm_serve.tensors import Table
from tests.automm.cli.answering import run
from tests.needs import ROOT
from tests.real.learning import (
    NUMBERS,
    SMALL,
    TABLE,
    Served,
    check_everywhere,
    emoji_rows,
    fit,
    losses,
    towers,
)

pytestmark = [pytest.mark.real, pytest.mark.triton]

MLPS = {"model.names": ["numerical_mlp", "categorical_mlp", "fusion_mlp"], "optim.lr": 3e-3}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served() as one:
        yield one


def test_a_threshold_and_a_temperature_are_the_same_everywhere(
    served: Served, tmp_path: Path
) -> None:
    train, test = emoji_rows(TABLE, "people", every=4)
    predictor = fit(tmp_path / "p", train, MLPS, label="people", eval_metric="f1", holdout_frac=0.3)
    summary, threshold = predictor.fit_summary(), predictor.decision_threshold
    assert summary["temperature"]["value"] != 1
    assert summary["decision"]["threshold"] == threshold != 0.5
    assert summary["decision"]["after"] >= summary["decision"]["before"]
    local = check_everywhere(predictor, test, served, tmp_path / "b")
    plain = fit(
        tmp_path / "plain", train, MLPS, label="people", eval_metric="f1", holdout_frac=0.3,
        calibrate=False,
    )  # fmt: skip
    assert plain.fit_summary()["temperature"] is None
    uncooled = log_odds(plain, test)
    warmth = summary["temperature"]["value"]
    np.testing.assert_allclose(log_odds(predictor, test), uncooled / warmth, rtol=1e-3, atol=1e-3)
    labels, truth = predictor.predict(test), {**test, "people": emoji_truth()}
    assert list(labels) != list(predictor.predict(test, decision_threshold=0.5)), "the control"
    for scheme in ("grpc", "http"):
        with served.client(tmp_path / "b", scheme) as client:
            assert local.decision_threshold == client.decision_threshold == threshold
            for place in (local, client):
                np.testing.assert_array_equal(place.predict(test), labels)
                found = place.predict_proba(test)
                np.testing.assert_allclose(found, predictor.predict_proba(test), atol=1e-5)
                assert place.evaluate(truth, "f1") == pytest.approx(predictor.evaluate(truth))


def log_odds(predictor: MultiModalPredictor, rows: Table) -> NDArray[np.float64]:
    positive = np.asarray(predictor.predict_proba(rows, as_multiclass=False), np.float64)
    odds: NDArray[np.float64] = np.log(positive / (1 - positive))
    return odds


def emoji_truth() -> list[object]:
    return list(emoji_rows((), "people")[1]["people"])


def test_the_recorded_thresholds_gain_on_three_binary_sets() -> None:
    found = json.loads((ROOT / "docs" / "results" / "threshold.json").read_bytes())
    assert len({entry["set"] for entry in found}) >= 3
    for one, other in (("f1", "f1_half"), ("log_loss_before", "log_loss")):
        assert np.mean([entry[one] - entry[other] for entry in found]) >= 0


def test_a_student_of_numbers_learns_from_a_teacher_of_texts_and_is_served(
    served: Served, tmp_path: Path
) -> None:
    train, test = emoji_rows(("keywords", *NUMBERS))
    names = {"model.names": ["hf_text", "numerical_mlp", "fusion_mlp"], "optim.max_epochs": 6}
    teacher = fit(tmp_path / "teacher", train, towers(tmp_path), names, {"optim.lr": 3e-3})
    small = {"model.names": ["numerical_mlp"], "optim.max_epochs": 20, "optim.lr": 1e-2}
    unlabelled = {"distiller.hard_label_weight": 0.0}
    student = fit(
        tmp_path / "student", train, small, unlabelled,
        teacher_predictor=teacher.path, column_types={"keywords": None},
    )  # fmt: skip
    assert losses(student)[-1] < losses(student)[0]
    wanted = teacher.predict_proba(test)
    apart = np.abs(student.predict_proba(test) - wanted).mean()
    assert apart < np.abs(wanted.mean(axis=0) - wanted).mean(), "the control: one answer for all"
    local = check_everywhere(student, test, served, tmp_path / "b")
    assert "keywords" not in {column.name for column in local.pipeline.schema.columns}


def test_a_fit_says_first_what_cheap_models_do_and_keeps_its_course(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, _ = emoji_rows(("image", "keywords", *TABLE))
    names = ["timm_image", "hf_text", "ft_transformer", "fusion_mlp"]
    given = {**SMALL, **towers(tmp_path), "model.names": names}
    predictor = MultiModalPredictor(label="group", path=tmp_path / "p", enable_progress_bar=True)
    with pytest.warns(UserWarning, match="A LINEAR MODEL IS AS GOOD|LEARNED NOTHING THAT SHOWS"):
        predictor.fit(train, hyperparameters=given)
    said = capsys.readouterr().err
    assert re.search(r"100 % accuracy \d\.\d+ \(best", said), "it shows no progress"

    summary = predictor.fit_summary(verbosity=1)
    assert list(summary)[:6] == [
        "metric", "trivial", "linear", "score", "beats_trivial", "beats_linear",
    ]  # fmt: skip
    assert summary["linear"] >= summary["score"], "150 rows and an untrained tower: it must be"
    assert not summary["beats_linear"]
    said = capsys.readouterr().err
    assert [line.split()[1] for line in said.splitlines()] == ["trivial:", "linear:", "score:"]
    with (tmp_path / "p" / "logs" / "metrics.csv").open() as file:
        course = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in course] == pytest.approx(losses(predictor))

    page = (tmp_path / "p" / "report.html").read_text()
    headings = re.findall(r"<h2[^>]*>([^<]+)", page)
    assert headings[0] == "Is it worth its cost?"
    assert len(headings) > 4
    assert "data:image/" in page, "no picture of an emoji is on it"
    fetched = re.findall(r"""(?:src|href)=["']?([^"'> ]+)""", page)
    assert all(place.startswith(("data:", "#")) for place in fetched), fetched
    assert "https://" not in page
    assert "<script" not in page


def test_the_default_preset_is_the_best_of_the_recorded_search() -> None:
    text = (ROOT / "docs" / "results" / "search.md").read_text()
    (fits,) = re.findall(r"`python -m benchmarks\.search`; (\d+) fits", text)
    assert int(fits) >= 100
    head = re.search(r"^\| trial \| gain \| (.+) \| differs", text, re.M)
    assert head is not None
    assert len(head[1].split(" | ")) >= 4
    (best,) = re.findall(r"^\| 26 \|.*\| ([^|]+) \|$", text, re.M)
    edge = msgspec.to_builtins(PRESETS["edge"])
    for setting in re.findall(r"`([^`]+)`", best):
        key, _, value = setting.partition("=")
        family, _, name = key.partition(".")
        assert edge["model"][family][name] == float(value), setting
    assert PRESETS["edge"] != Config()


def test_from_a_file_to_a_served_bundle_by_the_command_line(served: Served, tmp_path: Path) -> None:
    train, test = emoji_rows(TABLE)
    for name, table in (("train", train), ("test", test)):
        _write_csv(tmp_path / f"{name}.csv", table)
    settings = {**SMALL, **MLPS, "optim.max_epochs": 4, "optim.optim_type": "adam",
                "optim.lr_schedule": "polynomial_decay", "optim.top_k_average_method": "best",
                "optim.class_weights": "balanced"}  # fmt: skip
    words = [part for key, one in settings.items() for part in ("--set", f"{key}={_word(one)}")]
    out, bundle, rows = tmp_path / "p", tmp_path / "b", tmp_path / "test.csv"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        said = run("train", tmp_path / "train.csv", "--label", "group", "--out", out, *words)
    assert said.exit_code == 0, said.output
    who = ("trivial predictor", "linear model", "this predictor")
    places = [said.stdout.index(word) for word in who]
    assert places == sorted(places)
    assert "adam" in (out / "config.json").read_text()
    assert run("report", out).stdout.strip() == str(out / "report.html")
    assert "presence" not in run("info", out).stdout
    said = run("export", out, "--out", bundle, "--name", "emoji")
    assert said.exit_code == 0, said.output
    assert run("verify", bundle).exit_code == 0
    labelled = ("evaluate", bundle, rows, "--json")
    assert json.loads(run(*labelled).stdout)
    predictor = MultiModalPredictor.load(out, verbosity=0)
    expected = list(predictor.predict(str(rows)))
    said = run("predict", bundle, rows)
    assert [row["group"] for row in csv.DictReader(said.stdout.splitlines())] == expected
    with served.client(bundle) as client:
        assert list(client.predict(str(rows))) == expected
    assert list(load(bundle).predict(str(rows))) == expected


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _write_csv(path: Path, table: Table) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(
            ["" if cell is None else cell for cell in row]
            for row in zip(*table.values(), strict=True)
        )
