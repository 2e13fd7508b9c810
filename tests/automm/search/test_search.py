"""Searches of tiny models, by Ray itself."""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("ray")
pytest.importorskip("optuna")

import msgspec
from click.testing import CliRunner
from msgspec.structs import replace
from safetensors.torch import load_file

import automm
from automm.cli.main import main
from automm.config.presets import find_preset
from automm.config.search import SearchSpace, Uniform
from automm.predictor import MultiModalPredictor
from automm.search.cluster import ray_here
from automm.search.driver import Driver
from automm.search.plan import Slots
from automm.search.record import SearchSummary
from automm.search.state import STATE, Journal, SearchState
from automm.search.trial import Work, run_trial
from automm.training.interrupts import Interrupts
from automm.training.resume import Request
from automm_serve.errors import ConfigError, DataError
from tests.automm.training.running import table, write_script

psutil = pytest.importorskip("psutil")

SMALL: dict[str, object] = {
    "model.names": ["numerical_mlp", "categorical_mlp", "fusion_mlp"],
    "model.fusion_mlp.adapt_in_features": 8,
    "optim.max_epochs": 5,
    "optim.val_check_interval": 0.5,
    "optim.patience": 20,
    "env.batch_size": 16,
    "env.per_gpu_batch_size": 16,
    "env.accelerator": "cpu",
}
RATES = {"optim.lr": {"loguniform": [1e-7, 0.3]}}
TRIALS = 7
BAYES = {"num_trials": TRIALS, "max_concurrent": 1, "num_to_keep": 2,
         "searcher_init_args": {"n_startup_trials": 2},
         "scheduler_init_args": {"reduction_factor": 2}}  # fmt: skip

SEARCH = """
predictor = MultiModalPredictor(label="kind", path=given["path"], eval_metric="log_loss",
                                verbosity=0)
predictor.fit(given["data"], hyperparameters=given["settings"],
              hyperparameter_tune_kwargs=given["options"], seed=3)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    cells = table(120)
    del cells["title"]
    rows = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOMM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def ray():
    """Ray, started once as a search starts it: the searches of this file find it running."""
    with ray_here(slots=2, gpus=0):
        import ray

        yield ray


def fit(path, data, settings, options, eval_metric="log_loss"):
    predictor = MultiModalPredictor(label="kind", path=path, eval_metric=eval_metric, verbosity=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return predictor.fit(
            data, hyperparameters=settings, hyperparameter_tune_kwargs=options, seed=3
        )


def summary(predictor):
    return msgspec.convert(predictor.fit_summary()["search"], SearchSummary)


@pytest.fixture(scope="module")
def whole(ray, data, tmp_path_factory):
    """A search by bayes and ASHA, one trial at a time."""
    return fit(tmp_path_factory.mktemp("whole") / "p", data, SMALL | RATES, BAYES)


def test_bad_trials_are_stopped_and_the_best_one_becomes_the_predictor(whole):
    found = summary(whole)
    assert [trial.number for trial in found.trials] == list(range(1, TRIALS + 1))
    stopped = [trial for trial in found.trials if trial.status == "stopped"]
    finished = [trial for trial in found.trials if trial.status == "finished"]
    assert stopped
    assert len(stopped) + len(finished) == TRIALS
    assert all(trial.epochs < 5 for trial in stopped)
    assert all(trial.epochs == 5 and len(trial.history) == 10 for trial in finished)
    best = next(trial for trial in found.trials if trial.number == found.best)
    assert best.score == min(float(trial.score or math.inf) for trial in finished)
    assert not found.greater_is_better
    assert whole.fit_summary()["score"] == best.score
    assert 1e-4 < best.settings["optim.lr"] <= 0.3, "smaller ones learn nothing in five epochs"
    assert whole._fitted().trained.config.optim.lr == best.settings["optim.lr"]


def test_what_is_left_is_a_predictor_as_any_other(whole, data, tmp_path):
    assert {path.name for path in whole.path.iterdir()} == {
        "backbones", "config.json", "logs", "model.safetensors", "pipeline.json",
        "predictor.json", "report.html", "rows",
    } - ({"backbones"} if not (whole.path / "backbones").exists() else set())  # fmt: skip
    assert "How its settings were found" in (whole.path / "report.html").read_text()
    loaded = MultiModalPredictor.load(whole.path)
    assert summary(loaded) == summary(whole)
    whole.export(tmp_path / "bundle")
    bundle = automm.load(tmp_path / "bundle")
    np.testing.assert_allclose(
        np.asarray(bundle.predict_proba(str(data))),
        np.asarray(whole.predict_proba(str(data))),
        atol=1e-5,
    )
    shown = CliRunner().invoke(main, ["info", str(whole.path)], catch_exceptions=False).output
    assert f"search: trial {summary(whole).best} of {TRIALS} was best (bayes, ASHA)" in shown


def test_ray_listens_to_this_machine_alone(ray):
    assert ray.util.get_node_ip_address() == "127.0.0.1"
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    heard = {
        one.laddr.ip.removeprefix("::ffff:")
        for process in processes
        for one in process.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    }
    assert heard == {"127.0.0.1"}


def kill_in_the_middle(folder, data):
    """Search in another process with a home of its own, and kill it while a trial runs."""
    script = write_script(
        folder,
        SEARCH,
        path=str(folder / "p"),
        data=str(data),
        settings=SMALL | RATES,
        options=BAYES,
    )
    home = folder / "home"
    home.mkdir()
    scratch = tempfile.mkdtemp()  # what a killed process leaves there, nobody else removes
    environment = {**os.environ, "HOME": str(home), "TMPDIR": scratch}
    process = subprocess.Popen([sys.executable, str(script)], env=environment)
    state = folder / "p" / STATE
    trials: list[dict[str, object]] = []
    try:
        while len(trials) < 4 or not trials[-1]["history"]:
            assert process.poll() is None, "the search ended before its kill"
            time.sleep(0.01)
            trials = json.loads(state.read_bytes())["trials"] if state.is_file() else []
        children = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
    # Two of Ray's own compute nothing, and look for their parent once a minute.
    workers = [one for one in children if one.is_running() and "Agent" not in one.name()]
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive, "trials outlive their search"
    shutil.rmtree(scratch, ignore_errors=True)
    assert {one.name for one in home.iterdir()} <= {".cache"}  # onnxruntime's
    return folder / "p"


def test_after_a_kill_the_search_finds_the_same_best_trial(whole, data, tmp_path):
    path = kill_in_the_middle(tmp_path, data)
    assert not (path / "predictor.json").exists()
    before = json.loads((path / STATE).read_bytes())["trials"]
    assert len(list((path / "search" / "trials").iterdir())) <= 2 + 1  # num_to_keep, and one runs
    done = {one["number"]: one for one in before if one.get("status", "running") != "running"}
    assert len(done) >= 3

    with pytest.raises(ConfigError, match="a fit that was cut off is there"):
        fit(path, data, SMALL | RATES, BAYES)
    other = MultiModalPredictor.load(path, resume=True, verbosity=0)
    with pytest.raises(ConfigError, match="those that it began with"):
        other.fit(data, hyperparameters={"optim.max_epochs": 2})
    with pytest.raises(ConfigError, match="training rows are not those"):
        other.fit({name: cells[:60] for name, cells in table(120).items() if name != "title"})

    result = CliRunner().invoke(
        main, ["train", "--resume", str(path), "--json"], catch_exceptions=False
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["path"] == str(path), "something else was printed"
    resumed, wanted = summary(MultiModalPredictor.load(path)), summary(whole)
    assert resumed.best == wanted.best
    for ours, theirs in zip(resumed.trials, wanted.trials, strict=True):
        assert (ours.settings, ours.status) == (theirs.settings, theirs.status)
        assert (ours.score, ours.history) == (theirs.score, theirs.history)
        if ours.number in done:
            assert ours.seconds == done[ours.number].get("seconds", 0.0), "it was run again"
    one, two = load_file(path / "model.safetensors"), load_file(whole.path / "model.safetensors")
    for name, tensor in two.items():
        np.testing.assert_array_equal(one[name].numpy(), tensor.numpy(), err_msg=name)
    assert not (path / "search").exists()


def misses(truth, prediction, probabilities, classes):
    return float(np.mean(truth != prediction))


misses.greater_is_better = False  # type: ignore[attr-defined]  # as the documentation says


def test_two_at_once_find_it_by_chance_and_a_trial_that_fails_costs_nothing_else(
    ray, data, tmp_path, monkeypatch
):
    monkeypatch.setenv("AUTOMM_THREADS", "2")
    ranges = RATES | {"optim.peft": {"choice": [None, "conv_lora"]}}  # the second is not for these
    options = {"num_trials": 6, "searcher": "random", "scheduler": "FIFO", "max_concurrent": 2}
    found = summary(fit(tmp_path / "p", data, SMALL | ranges, options, eval_metric=misses))
    fails = [trial for trial in found.trials if trial.settings["optim.peft"] == "conv_lora"]
    assert len(found.trials) == 6
    assert 0 < len(fails) < 6
    for trial in found.trials:
        assert trial.status == ("failed" if trial in fails else "finished")
        assert ("conv_lora" in trial.what) is (trial in fails)
    good = [trial for trial in found.trials if trial.status == "finished"]
    assert (found.metric, found.greater_is_better) == ("misses", False)
    assert found.best == min(good, key=lambda one: float(one.score or 0.0)).number


def test_a_preset_that_searches_does_so_on_the_command_line(ray, data, tmp_path):
    fixed = {**SMALL, "optim.max_epochs": 2, "env.batch_size": 32}
    settings = [f"{key}={json.dumps(value)}" for key, value in fixed.items()]
    arguments = ["train", str(data), "--label", "kind", "--out", str(tmp_path / "p")]
    arguments += ["--preset", "edge_hpo", "--num-trials", "2", "--max-concurrent", "1"]
    arguments += [part for one in settings for part in ("--set", one)]
    arguments += ["--set", 'optim.lr={"loguniform": [0.001, 0.01]}', "--time-limit", "600"]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "2 trials (bayes, ASHA)" in result.output
    found = summary(MultiModalPredictor.load(tmp_path / "p"))
    assert set(found.ranges) == {"optim.lr", "optim.optim_type"}, "the preset's, less what is fixed"
    assert all(0.001 <= trial.settings["optim.lr"] <= 0.01 for trial in found.trials)


@pytest.fixture
def journal(tmp_path):
    config = find_preset("edge")
    request = Request(label="kind", problem_type="multiclass", metric="accuracy", eval_metric=None,
                      seed=0, train="", valid="")  # fmt: skip
    space = SearchSpace(ranges={"optim.lr": Uniform(low=0.1, high=1)}, num_trials=1)
    state = SearchState(request=request, config=config, preset=None, fixed={}, space=space,
                        pretrained=True, greater_is_better=True)  # fmt: skip
    return Journal(tmp_path / "p", state)


def drive(journal, work):
    return Driver(journal, work, Slots(1, 1, 0), interrupts=Interrupts(), tell=print)


def test_a_search_whose_trials_all_fail_says_why(journal, data):
    work = Work(
        constructor={"label": "kind"},
        fit={"train_data": str(data)},
        fixed=SMALL | {"optim.peft": "conv_lora"},
        threads=1,
    )
    journal.begin(1, {"optim.lr": 0.5})
    run_trial(work, {"optim.lr": 0.5}, journal.folder(1), lambda *validation: None)
    with pytest.raises(DataError, match="conv_lora"):
        drive(journal, work).run()
    assert [(trial.number, trial.status) for trial in journal.trials] == [(1, "failed")]
    assert not journal.folder(1).exists()


def test_no_trial_begins_without_half_the_time_of_the_quickest(journal):
    journal.begin(1, {"optim.lr": 0.5})
    journal.end(1, status="finished", score=0.5, seconds=1000.0)
    work = Work(constructor={}, fit={}, fixed={}, threads=1)
    assert not drive(journal, work)._is_over()
    assert not drive(journal, replace(work, deadline=time.monotonic() + 900))._is_over()
    assert drive(journal, replace(work, deadline=time.monotonic() + 400))._is_over()


def test_a_range_is_no_setting_of_a_fit_that_goes_on(whole, data):
    with pytest.raises(ConfigError, match="a search begins anew"):
        whole.fit(data, hyperparameters=RATES, hyperparameter_tune_kwargs={"num_trials": 2})
