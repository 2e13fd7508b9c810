"""On what a run computes: devices, processes, nodes, and how the work is shared among them.

Several devices train by Lightning's DDP, FSDP or DeepSpeed. The processes are started by this one
(with its own command line, once more for each), by ``torchrun``, or by Slurm.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed
from torch import nn

from automm.config.schema import EnvConfig, OptimConfig
from automm_serve.errors import ConfigError


class Devices(NamedTuple):
    """What a run computes on.

    Attributes:
        accelerator: ``cpu``, ``gpu`` or ``mps``.
        per_node: Processes on this node, one for each device.
        nodes: Machines.
        strategy: ``auto`` for one process; ``ddp``, ``fsdp`` or a stage of DeepSpeed.
    """

    accelerator: str
    per_node: int
    nodes: int
    strategy: str

    @property
    def world(self) -> int:
        """Processes altogether."""
        return self.per_node * self.nodes

    @property
    def shards(self) -> bool:
        """Whether no process has all weights."""
        return self.strategy.startswith("fsdp")


def find_devices(env: EnvConfig) -> Devices:
    """Find what ``env`` asks for.

    Raises:
        ConfigError: It is not there, or cannot be used in this way.
    """
    accelerator = _accelerator(env)
    launched = _launched()
    if launched is not None:
        count, nodes = launched
    else:
        count, nodes = _count(env, accelerator), env.num_nodes
    if accelerator == "gpu" and count > torch.cuda.device_count():
        raise ConfigError(
            where="hyperparameter 'env.num_gpus' (--devices)",
            what=f"{count} GPUs are asked for, {torch.cuda.device_count()} are there",
            mend="Ask for fewer, or pass -1 for all",
        )
    devices = Devices(accelerator, count, nodes, _strategy(env, count * nodes, accelerator))
    if devices.world > 1 and launched is None and not _can_launch():
        raise ConfigError(
            where="hyperparameter 'env.num_gpus' (--devices)",
            what="several processes cannot be started out of a notebook or a shell of Python",
            mend="Write a script, or use",
            command=f"automm train DATA --label COL --devices {count}",
        )
    return devices


def device_of(devices: Devices) -> torch.device:
    """Return the device that this process computes on."""
    if devices.accelerator != "gpu":
        return torch.device(devices.accelerator)
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def build_strategy(devices: Devices, env: EnvConfig, optim: OptimConfig) -> Any:
    """Return Lightning's strategy object, or its name where there is one process.

    Raises:
        ConfigError: DeepSpeed is not installed, or a setting does not go with it.
    """
    from automm.training.lightning import strategies

    if devices.strategy == "auto":
        return "auto"
    if devices.strategy == "ddp":
        # A batch may leave an encoder's heads unused.
        return strategies.DDPStrategy(find_unused_parameters=True)
    if devices.strategy.startswith("fsdp"):
        from torch.distributed.fsdp.wrap import size_based_auto_wrap_policy

        return strategies.FSDPStrategy(
            auto_wrap_policy=partial(size_based_auto_wrap_policy, min_num_params=20_000_000),
            cpu_offload=devices.strategy == "fsdp_cpu_offload",
            state_dict_type="full",
        )
    return _deepspeed(devices, env, optim, strategies.DeepSpeedStrategy)


def precision_of(env: EnvConfig, devices: Devices) -> Literal["32-true", "16-mixed", "bf16-mixed"]:
    """Return the precision: mixed where the device has it; a CPU computes in 32 bits."""
    if env.precision == "32" or devices.accelerator != "gpu":
        return "32-true"
    return env.precision


def is_main() -> bool:
    """Tell whether this process speaks, scores and writes; the others only compute."""
    for variable in ("RANK", "SLURM_PROCID"):
        if variable in os.environ:
            return os.environ[variable] == "0"
    return os.environ.get("NODE_RANK", "0") == "0" and os.environ.get("LOCAL_RANK", "0") == "0"


def rank() -> int:
    """Return the number of this process in the run; 0 before the processes know of each other."""
    return torch.distributed.get_rank() if _together() else 0


def share(numbers: list[float], device: torch.device | None = None) -> list[float]:
    """Return the first process's numbers in every process, by a device of this one's."""
    if not _together():
        return numbers
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tensor = torch.tensor(numbers, dtype=torch.float64, device=_reachable(device))
    torch.distributed.broadcast(tensor, src=0)
    found: list[float] = tensor.tolist()
    return found


def most(number: int, device: torch.device) -> int:
    """Return the greatest of all processes' numbers."""
    if not _together():
        return number
    tensor = torch.tensor(number, device=_reachable(device))
    torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MAX)
    return int(tensor)


def total(number: float, device: torch.device) -> float:
    """Return the sum of all processes' numbers."""
    if not _together():
        return number
    tensor = torch.tensor(number, dtype=torch.float64, device=_reachable(device))
    torch.distributed.all_reduce(tensor)
    return float(tensor)


def share_weights(model: nn.Module) -> None:
    """Give every process the first one's weights and buffers."""
    if not _together():
        return
    nccl = torch.distributed.get_backend() == "nccl"
    for tensor in (*model.parameters(), *model.buffers()):
        held = tensor.data.cuda() if nccl else tensor.data.cpu()
        torch.distributed.broadcast(held, src=0)
        tensor.data.copy_(held)


def wait() -> None:
    """Wait until every process is here."""
    if _together():
        torch.distributed.barrier()


def _together() -> bool:
    distributed = torch.distributed
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )


def _reachable(device: torch.device) -> torch.device:
    return device if torch.distributed.get_backend() == "nccl" else torch.device("cpu")


def _accelerator(env: EnvConfig) -> str:
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if env.accelerator == "gpu" and not (cuda or mps):
        raise ConfigError(
            where="hyperparameter 'env.accelerator' (--device)",
            what="there is no GPU that this torch can use",
            mend="Pass 'auto' or 'cpu', or install a torch for your GPU",
        )
    if env.accelerator == "cpu" or env.num_gpus == 0 or not (cuda or mps):
        return "cpu"
    return "gpu" if cuda else "mps"


def _count(env: EnvConfig, accelerator: str) -> int:
    if env.num_gpus > 0:
        return env.num_gpus
    every = accelerator == "gpu" and _can_launch()
    return max(1, torch.cuda.device_count()) if every else 1


def is_launched() -> bool:
    """Tell whether this is one of several processes that ``torchrun`` has started."""
    return _launched() is not None


def _launched() -> tuple[int, int] | None:
    """Processes of a node, and nodes, where ``torchrun`` has started this one."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    count = int(os.environ["LOCAL_WORLD_SIZE"])
    return count, int(os.environ["WORLD_SIZE"]) // count


def _can_launch() -> bool:
    """Whether there is a command line that another process can be started with."""
    main = sys.modules["__main__"]
    return getattr(main, "__file__", None) is not None and not hasattr(sys, "ps1")


def _strategy(env: EnvConfig, world: int, accelerator: str) -> str:
    name = env.strategy
    if name == "auto" or name.startswith("ddp"):
        return "auto" if world == 1 else "ddp"
    if accelerator != "gpu":
        raise ConfigError(
            where="hyperparameter 'env.strategy' (--strategy)",
            what=f"{name!r} needs NVIDIA GPUs",
            mend="Leave it out, or pass ddp",
        )
    return name


def _deepspeed(devices: Devices, env: EnvConfig, optim: OptimConfig, kind: Any) -> Any:
    if optim.gradient_clip_algorithm != "norm":
        raise ConfigError(
            where="hyperparameter 'optim.gradient_clip_algorithm'",
            what="DeepSpeed clips by norm alone",
            mend="Set it to norm",
        )
    if env.per_gpu_batch_size * devices.world < env.batch_size:
        raise ConfigError(
            where="hyperparameter 'env.per_gpu_batch_size'",
            what="DeepSpeed takes a step after every portion of a batch",
            mend=f"Set it to {-(-env.batch_size // devices.world)}, or lower env.batch_size",
        )
    if find_spec("deepspeed") is None:
        raise ConfigError(
            where="hyperparameter 'env.strategy' (--strategy)",
            what="the package 'deepspeed' is not installed",
            mend="Install it with",
            command="pip install deepspeed",
        )
    strategy = kind(
        stage=2 if "stage_2" in devices.strategy else 1,
        offload_optimizer=devices.strategy.endswith("offload"),
        allgather_bucket_size=int(env.deepspeed_allgather_size),
        reduce_bucket_size=int(env.deepspeed_allreduce_size),
    )
    # Else Lightning passes its own setting on, which a loop that steps by itself must leave out.
    strategy.config["gradient_clipping"] = optim.gradient_clip_val
    return strategy
