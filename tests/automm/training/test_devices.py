import json
import sys
import types
from importlib.machinery import ModuleSpec

import msgspec
import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file

from automm.config.overrides import override
from automm.config.schema import Config
from automm.training import devices as under_test
from automm.training.devices import build_strategy, find_devices, is_main
from automm.training.lightning import strategies
from automm_serve.errors import ConfigError
from tests.automm.training.running import TYPES, settings, start, table, write_script


def config_of(**changes):
    return override(Config(), {f"env.{key}": value for key, value in changes.items()})


@pytest.fixture(autouse=True)
def script(monkeypatch):
    """As in a script: a worker of xdist has no file that could be started once more."""
    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)


@pytest.fixture
def gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


def test_a_cpu_trains_in_one_process_unless_more_are_asked_for():
    one = find_devices(config_of(accelerator="cpu").env)
    assert (one.accelerator, one.per_node, one.world, one.strategy) == ("cpu", 1, 1, "auto")
    assert build_strategy(one, Config().env, Config().optim) == "auto"
    two = find_devices(config_of(accelerator="cpu", num_gpus=2).env)
    assert (two.per_node, two.strategy) == (2, "ddp")


def test_minus_one_takes_every_gpu_and_zero_none(gpus):
    assert find_devices(config_of().env).per_node == 4
    assert find_devices(config_of(num_gpus=0).env).accelerator == "cpu"
    assert find_devices(config_of(num_gpus=2, num_nodes=3).env).world == 6
    with pytest.raises(ConfigError, match="8 GPUs are asked for, 4 are there"):
        find_devices(config_of(num_gpus=8).env)


def test_a_notebook_takes_one_gpu_and_says_how_to_take_more(gpus, monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert find_devices(config_of().env).per_node == 1
    with pytest.raises(ConfigError, match=r"notebook(.|\n)*automm train DATA --label COL --dev"):
        find_devices(config_of(num_gpus=2).env)


def test_torchrun_says_how_many_there_are(gpus, monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": 2, "WORLD_SIZE": 6}.items():
        monkeypatch.setenv(name, str(value))
    found = find_devices(config_of(num_gpus=1).env)
    assert (found.per_node, found.nodes) == (2, 3)


@pytest.mark.parametrize(
    ("variables", "is_first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "RANK": "2"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_one_process_speaks(monkeypatch, variables, is_first):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_main() == is_first


@pytest.mark.parametrize("name", ["ddp", "ddp_spawn_find_unused_parameters_true", "auto"])
def test_ddp_under_each_of_its_names(gpus, name):
    config = config_of(num_gpus=2, strategy=name)
    found = build_strategy(find_devices(config.env), config.env, config.optim)
    assert isinstance(found, strategies.DDPStrategy)
    assert found._ddp_kwargs["find_unused_parameters"]


@pytest.mark.parametrize(("name", "offloads"), [("fsdp", False), ("fsdp_cpu_offload", True)])
def test_fsdp_is_configured(gpus, name, offloads):
    config = config_of(num_gpus=2, strategy=name)
    devices = find_devices(config.env)
    assert devices.shards
    found = build_strategy(devices, config.env, config.optim)
    assert isinstance(found, strategies.FSDPStrategy)
    assert found.cpu_offload.offload_params == offloads
    assert found._state_dict_type == "full"


@pytest.fixture
def deepspeed(monkeypatch):
    """As much of the package as Lightning's strategy asks for when it is made."""
    from lightning.pytorch.strategies import deepspeed as module

    package = types.ModuleType("deepspeed")
    package.__spec__ = ModuleSpec("deepspeed", None)
    package.utils = types.SimpleNamespace(  # type: ignore[attr-defined]
        logging=types.SimpleNamespace(logger=types.SimpleNamespace(setLevel=lambda level: None))
    )
    monkeypatch.setitem(sys.modules, "deepspeed", package)
    monkeypatch.setattr(module, "_DEEPSPEED_AVAILABLE", True)
    monkeypatch.setattr(module, "_DEEPSPEED_GREATER_EQUAL_0_16", True)


def test_deepspeed_is_configured(gpus, deepspeed):
    config = config_of(
        num_gpus=2, strategy="deepspeed_stage_2_offload", deepspeed_allgather_size=1e8,
        per_gpu_batch_size=64,
    )  # fmt: skip
    config = override(config, {"optim.gradient_clip_val": 0.7})
    found = build_strategy(find_devices(config.env), config.env, config.optim)
    assert isinstance(found, strategies.DeepSpeedStrategy)
    assert found.config is not None
    zero = found.config["zero_optimization"]
    assert (zero["stage"], zero["allgather_bucket_size"]) == (2, 10**8)
    assert zero["reduce_bucket_size"] == 10**9
    assert zero["offload_optimizer"]["device"] == "cpu"
    assert found.config["gradient_clipping"] == 0.7


def test_what_does_not_go_with_deepspeed_is_said(gpus, deepspeed):
    few = config_of(num_gpus=2, strategy="deepspeed_stage_2", per_gpu_batch_size=8, batch_size=64)
    with pytest.raises(ConfigError, match=r"env\.per_gpu_batch_size.*32"):
        build_strategy(find_devices(few.env), few.env, few.optim)
    value = override(few, {"optim.gradient_clip_algorithm": "value"})
    with pytest.raises(ConfigError, match="clips by norm alone"):
        build_strategy(find_devices(value.env), value.env, value.optim)


def test_without_the_package_its_name_is_told(gpus, monkeypatch):
    monkeypatch.setattr(under_test, "find_spec", lambda name: None)
    config = config_of(num_gpus=2, strategy="deepspeed_stage_1", per_gpu_batch_size=64)
    with pytest.raises(ConfigError, match=r"pip install deepspeed"):
        build_strategy(find_devices(config.env), config.env, config.optim)


def test_a_cpu_cannot_shard():
    with pytest.raises(ConfigError, match="'fsdp' needs NVIDIA GPUs"):
        find_devices(config_of(accelerator="cpu", num_gpus=2, strategy="fsdp").env)


BODY = """
from automm.training.devices import is_main
predictor = MultiModalPredictor(label="kind", path=given["path"], verbosity=0)
predictor.fit(given["data"], hyperparameters=given["settings"], column_types=given["types"])
found = predictor.predict_proba({k: v[:9] for k, v in given["data"].items()}).ravel().tolist()
print("FOUND " + json.dumps([predictor.fit_summary()["history"], found]), flush=True)
"""


def without_chance(folder):
    """Settings, without dropout: the processes draw other numbers than one alone."""
    given = settings(folder, optim__max_epochs=2)
    file = folder / "text" / "config.json"
    config = msgspec.json.decode(file.read_bytes())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    file.write_bytes(msgspec.json.encode(config))
    drops = ("attention_dropout", "residual_dropout", "ffn_dropout")
    given |= {f"model.ft_transformer.{name}": 0.0 for name in drops}
    return given | {"model.fusion_mlp.dropout": 0.0}


def run(folder, name, *launcher, **changes):
    given = without_chance(folder) | {f"env.{key}": value for key, value in changes.items()}
    place = folder / name
    place.mkdir()
    script = write_script(
        place, BODY, path=str(place / "p"), data=table(59), settings=given, types=TYPES
    )
    process = start(*launcher, script, GLOO_SOCKET_IFNAME="lo", MASTER_ADDR="127.0.0.1")
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    lines = [line for line in output.splitlines() if "FOUND " in line]
    return [json.loads(line.split("FOUND ")[1]) for line in lines], place / "p"


@pytest.mark.slow
@pytest.mark.parametrize("launched_by", ["us", "torchrun"])
def test_two_processes_learn_what_one_does(tmp_path, launched_by):
    # 47 training rows in steps of 16: the last one has 15, shared as 8 and 7.
    ((alone, answers),), path = run(tmp_path, "one", num_gpus=1)
    options = ["--nnodes=1", "--nproc-per-node=2", "--master-addr=127.0.0.1", "--master-port=29577"]
    launcher = [] if launched_by == "us" else ["-m", "torch.distributed.run", *options]
    both, place = run(tmp_path, "two", *launcher, num_gpus=2)
    assert len(both) == 2, "every process goes on behind the fit"
    for history, found in both:
        assert [e["step"] for e in history] == [e["step"] for e in alone]
        losses = [e["loss"] for e in history]
        assert losses == pytest.approx([e["loss"] for e in alone], abs=1e-4)
        assert found == pytest.approx(answers, abs=1e-3)
    assert alone[-1]["loss"] != pytest.approx(alone[0]["loss"], abs=1e-2)  # the control
    wanted = load_file(path / "model.safetensors")
    for name, tensor in load_file(place / "model.safetensors").items():
        torch.testing.assert_close(tensor, wanted[name], atol=1e-3, rtol=1e-2)
    assert not (place / "resume").exists()
