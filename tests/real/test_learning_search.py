"""A search by Ray over real rows: killed and resumed it finds the same best, which is served."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("ray")
pytest.importorskip("optuna")

from click.testing import CliRunner
from safetensors.torch import load_file

from automm.cli.main import main
from automm.predictor import MultiModalPredictor
from automm.search.cluster import ray_here
from automm.search.state import STATE
from tests.real.learning import SMALL, TABLE, Served, check_everywhere, emoji_rows, go_on

psutil = pytest.importorskip("psutil")

pytestmark = [pytest.mark.real, pytest.mark.triton]

TRAIN, TEST = emoji_rows(TABLE)
TRIALS = 4
SETTINGS = {
    **SMALL,
    "model.names": ["numerical_mlp", "categorical_mlp", "fusion_mlp"],
    "optim.max_epochs": 4,
    "optim.lr": {"loguniform": [1e-5, 0.1]},
}
HOW: dict[str, Any] = {"num_trials": TRIALS, "max_concurrent": 1,
                       "searcher_init_args": {"n_startup_trials": 2},
                       "scheduler_init_args": {"reduction_factor": 2}}  # fmt: skip

SEARCH = """
import json, sys, warnings
warnings.simplefilter("ignore")
from automm.predictor import MultiModalPredictor
if __name__ == "__main__":
    path, data, settings, how = json.loads(sys.stdin.read())
    predictor = MultiModalPredictor(label="group", presets="edge_hpo", path=path,
                                    eval_metric="log_loss", verbosity=0)
    predictor.fit(data, hyperparameters=settings, hyperparameter_tune_kwargs=how)
"""


@pytest.fixture(scope="module", autouse=True)
def one_slot() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOMM_THREADS", "1")
        with ray_here(slots=1, gpus=0):
            yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The rows as a file, since a search that goes on has nothing but its path."""
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    rows = zip(*TRAIN.values(), strict=True)
    path.write_text("\n".join(json.dumps(dict(zip(TRAIN, row, strict=True))) for row in rows))
    return str(path)


def killed_in_the_middle(folder: Path, data: str) -> Path:
    """Search in another process, and kill it while its third trial or a later one runs."""
    (folder / "search.py").write_text(SEARCH)
    # What a killed process leaves there, nobody else removes; a socket's path is a short one.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        return _killed(folder, data, scratch)


def _killed(folder: Path, data: str, scratch: str) -> Path:
    process = subprocess.Popen(
        [sys.executable, str(folder / "search.py")],
        stdin=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": scratch},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps([str(folder / "p"), data, SETTINGS, HOW]))
    process.stdin.close()
    state, deadline = folder / "p" / STATE, time.monotonic() + 240
    children: list[Any] = []
    try:
        while not _runs(state, 3):
            assert process.poll() is None, "the search ended before its kill"
            assert time.monotonic() < deadline, "no trial came so far"
            time.sleep(0.01)
        children = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
    workers = [one for one in children if one.is_running() and "Agent" not in one.name()]
    assert not psutil.wait_procs(workers, timeout=60)[1], "trials outlive their search"
    return folder / "p"


def _runs(state: Path, number: int) -> bool:
    trials = json.loads(state.read_bytes())["trials"] if state.is_file() else []
    return len(trials) >= number and bool(trials[-1]["history"])


def found(predictor: MultiModalPredictor) -> dict[str, Any]:
    search = predictor.fit_summary()["search"]
    kept = ("number", "settings", "status", "score", "history")
    trials = [{key: trial.get(key) for key in kept} for trial in search["trials"]]
    return {"best": search["best"], "trials": trials}


def test_a_killed_search_finds_the_same_best_trial_and_it_is_served(
    data: str, tmp_path: Path
) -> None:
    whole = MultiModalPredictor(
        label="group", presets="edge_hpo", path=tmp_path / "whole", eval_metric="log_loss",
        verbosity=0,
    )  # fmt: skip
    go_on(whole, data, SETTINGS, hyperparameter_tune_kwargs=HOW)
    wanted = found(whole)
    assert len(wanted["trials"]) == TRIALS
    ended = [t for t in wanted["trials"] if t["status"] == "finished"]
    assert wanted["best"] == min(ended, key=lambda t: t["score"])["number"]

    path = killed_in_the_middle(tmp_path, data)
    assert not (path / "predictor.json").exists()
    done = CliRunner().invoke(main, ["train", "--resume", str(path)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    resumed = MultiModalPredictor.load(path, verbosity=0)
    assert found(resumed) == wanted
    weights = [load_file(place / "model.safetensors") for place in (path, tmp_path / "whole")]
    for name, tensor in weights[1].items():
        np.testing.assert_array_equal(weights[0][name].numpy(), tensor.numpy(), err_msg=name)
    with Served() as served:
        check_everywhere(resumed, TEST, served, tmp_path / "b")
