"""What a user writes of a search, and what is tried because of it."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from automm.config.overrides import override
from automm.config.presets import SEARCHES
from automm.config.schema import Config, EnvConfig
from automm.config.search import Choice, LogUniform, RandInt, Resources, SearchSpace, Uniform
from automm.predictor import MultiModalPredictor
from automm.search.plan import find_slots, fixed_by, plan_search
from automm.search.record import Trial
from automm.search.spaces import ends, split
from automm.search.suggest import suggest
from automm.training.devices import find_devices
from automm_serve.errors import ConfigError, MissingDependencyError

RANGE = {"optim.lr": {"loguniform": [1e-5, 1e-2]}}
SPACE = SearchSpace(
    ranges={
        "optim.lr": LogUniform(low=1e-5, high=1e-2),
        "optim.lr_decay": Uniform(low=0.5, high=1),
        "optim.max_epochs": RandInt(low=2, high=9),
        "model.names": Choice(values=(["ft_transformer"], ["numerical_mlp", "fusion_mlp"])),
    },
    num_trials=20,
)


@pytest.mark.parametrize(
    "written",
    [
        {"optim.lr": {"loguniform": [1e-5, 1e-2]}, "optim.max_epochs": {"randint": [2, 9]}},
        {"optim": {"lr": {"loguniform": (1e-5, 1e-2)}, "max_epochs": {"randint": (2, 9)}}},
        {"optimization.learning_rate": {"loguniform": [1e-5, 1e-2]},
         "optim.max_epochs": {"randint": [2, 9]}},
        ['optim.lr={"loguniform": [1e-5, 1e-2]}', 'optim.max_epochs={"randint":[2,9]}'],
        """'optim.lr={"loguniform":[1e-5,1e-2]}' 'optim.max_epochs={"randint":[2,9]}'""",
    ],
)  # fmt: skip
def test_a_range_is_the_same_in_every_form(written):
    fixed, ranges = split(written)
    assert not fixed
    assert ranges == {
        "optim.lr": LogUniform(low=1e-5, high=1e-2),
        "optim.max_epochs": RandInt(low=2, high=9),
    }


def test_rays_own_spaces_are_taken():
    tune = pytest.importorskip("ray.tune")
    written = {
        "optim.lr": tune.loguniform(1e-5, 1e-2),
        "optim.lr_decay": tune.uniform(0.5, 1),
        "optim.max_epochs": tune.randint(2, 9),
        "env.batch_size": tune.lograndint(8, 65),
        "optim.optim_type": tune.choice(["adamw", "sgd"]),
        "optim.patience": 3,
    }
    fixed, ranges = split(written)
    assert fixed == {"optim.patience": 3}
    assert {key: ends(found) for key, found in ranges.items()} == {
        "optim.lr": (1e-5, 1e-2),
        "optim.lr_decay": (0.5, 1.0),
        "optim.max_epochs": (2, 8),
        "env.batch_size": (8, 64),
        "optim.optim_type": ("adamw", "sgd"),
    }
    with pytest.raises(ConfigError, match="this kind of Ray's spaces"):
        split({"optim.lr": tune.quniform(0.1, 1, 0.1)})


def test_a_later_setting_stands_above_an_earlier_one_and_the_presets_range():
    plan = plan_search("edge_hpo", ({"optim.lr": 1e-3}, {"optim.patience": 2}), {"num_trials": 3})
    assert plan is not None
    assert plan.fixed == {"optim.lr": 1e-3, "optim.patience": 2}
    assert set(plan.space.ranges) == set(SEARCHES["edge"].ranges) - {"optim.lr"}
    assert (plan.space.num_trials, plan.space.searcher) == (3, "bayes")
    again = plan_search(None, ({"optim.lr": 1e-3}, RANGE), {})
    assert again is not None
    assert (again.fixed, set(again.space.ranges)) == ({}, {"optim.lr"})
    assert plan_search("edge", ({"optim.lr": 1e-3}, None), None) is None


REFUSED = {
    "a range, no search": (RANGE, None, r"optim.lr.*no search is asked for"),
    "a search, no range": ({"optim.lr": 1e-3}, {"num_trials": 2}, r"no setting is to be varied"),
    "an empty choice": ({"optim.lr": {"choice": []}}, {}, r"'optim.lr'.*it has no values"),
    "wrong way round": ({"optim.lr": {"uniform": [2, 1]}}, {}, r"low 2.0 is not below high 1.0"),
    "one number": ({"optim.lr": {"uniform": [1]}}, {}, r"wants a list of two numbers"),
    "a form": ({"optim.lr": {"loguniforn": [1, 2]}}, {}, r"but there is 'loguniform'"),
    "a setting": ({"optim.lrr": {"uniform": [1, 2]}}, {}, r"optim.lrr.*but there is 'optim.lr'"),
    "a value": ({"optim.optim_type": {"choice": ["adamw", 3]}}, {}, r"3 does not fit"),
    "no data": ({"optim.lr": {"choice": [object()]}}, {}, r"a object is no setting"),
    "a scheduler": (RANGE, {"scheduler": "AHSA"}, r"scheduler 'AHSA'.*'ASHA'"),
    "a searcher": (RANGE, {"searcher": "baes"}, r"searcher 'baes'.*'bayes'"),
    "a keyword": (RANGE, {"num_trial": 3}, r"'num_trial', but there is 'num_trials'"),
    "no trial": (RANGE, {"num_trials": 0}, r"num_trials: Expected `int` >= 1"),
    "no dict": (RANGE, "bayes", r"'bayes' is no dict"),
    "of a scheduler": (RANGE, {"scheduler_init_args": {"eta": 2}}, r"unknown field `eta`"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "options", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_searched_is_refused_before_the_table_is_read(settings, options, says):
    predictor = MultiModalPredictor(label="kind")
    with pytest.raises(ConfigError, match=says):
        predictor.fit("no such file", hyperparameters=settings, hyperparameter_tune_kwargs=options)


@pytest.mark.parametrize("package", ["ray", "optuna"])
def test_what_is_not_installed_is_named_with_its_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"'{package}' is not[\s\S]*\[hpo\]"):
        plan_search(None, (RANGE,), {})


def test_more_than_the_machine_has_is_refused(monkeypatch):
    monkeypatch.setenv("AUTOMM_THREADS", "8")
    env = EnvConfig(accelerator="cpu")

    def slots(env=env, **options):
        return find_slots(SearchSpace(ranges=SPACE.ranges, **options), env)

    assert (slots().trials, slots().threads) == (2, 4)
    assert slots(num_trials=1).threads == 8
    assert slots(max_concurrent=3).threads == 2
    assert slots(resources_per_trial=Resources(cpu=1)).trials == 8
    with pytest.raises(ConfigError, match="9 threads"):
        slots(resources_per_trial=Resources(cpu=9))
    with pytest.raises(ConfigError, match="5 trials at once"):
        slots(resources_per_trial=Resources(cpu=2), max_concurrent=5)
    with pytest.raises(ConfigError, match="1 GPUs, there are 8 and 0"):
        slots(resources_per_trial=Resources(gpu=1))
    with pytest.raises(ConfigError, match="each trial has one device"):
        slots(EnvConfig(accelerator="cpu", num_gpus=2))


def test_a_trial_without_a_gpu_leaves_those_of_the_machine_alone(monkeypatch):
    monkeypatch.setenv("AUTOMM_THREADS", "4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with_one = find_slots(SearchSpace(ranges=SPACE.ranges), EnvConfig())
    assert (with_one.gpus, with_one.trials, fixed_by(with_one)) == (1, 2, {})
    space = SearchSpace(ranges=SPACE.ranges, resources_per_trial=Resources(gpu=0))
    env = override(Config(), fixed_by(find_slots(space, EnvConfig()))).env
    assert (find_devices(env).accelerator, find_devices(env).world) == ("cpu", 1)


@given(seed=st.integers(0, 2**40), number=st.integers(1, 600), how=st.sampled_from(["random"]))
def test_what_is_tried_lies_within_its_range_and_follows_from_the_seed(seed, number, how):
    space = SearchSpace(ranges=SPACE.ranges, searcher=how)
    found = suggest(space, (), number=number, seed=seed, greater_is_better=True)
    assert found == suggest(space, (), number=number, seed=seed, greater_is_better=True)
    check(found)


def check(found):
    assert found.keys() == SPACE.ranges.keys()
    assert 1e-5 <= found["optim.lr"] <= 1e-2
    assert 0.5 <= found["optim.lr_decay"] <= 1
    assert found["optim.max_epochs"] in range(2, 9)
    names = SPACE.ranges["model.names"]
    assert isinstance(names, Choice)
    assert found["model.names"] in names.values


@pytest.mark.parametrize("greater_is_better", [True, False])
def test_bayes_learns_from_what_is_done_and_from_nothing_else(greater_is_better):
    pytest.importorskip("optuna")

    def ask(trials, number):
        return suggest(
            SPACE, trials, number=number, seed=7, greater_is_better=greater_is_better
        )  # fmt: skip

    def score(settings):  # few epochs are best
        return -settings["optim.max_epochs"] * (1 if greater_is_better else -1)

    trials: list[Trial] = []
    for number in range(1, 31):
        settings = ask(trials, number)
        check(settings)
        trials.append(
            Trial(number=number, settings=settings, status="finished", score=score(settings))
        )
    early = sum(trial.settings["optim.max_epochs"] for trial in trials[:5]) / 5
    late = sum(trial.settings["optim.max_epochs"] for trial in trials[-10:]) / 10
    assert late < early
    assert late < 4
    running = Trial(number=31, settings=trials[0].settings)
    broken = Trial(number=32, settings=trials[0].settings, status="failed")
    assert ask(trials, 31) == ask([*trials, running, broken], 31)
