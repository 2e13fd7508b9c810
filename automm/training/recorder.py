"""Writes what ``automm.training.resume`` describes, and puts it back."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from automm.config.schema import Config
from automm.training.resume import START, Kept, Progress, Request, Resumable, damaged
from automm.training.soup import BestStates, State, put_state, take_state
from automm_serve.atomic import sync


class Recorder:
    """Writes the folder at every validation.

    Args:
        folder: Of the files.
        request: What was asked for.
        config: Settings.
        write_start: Writes the predictor that is trained on into a folder; None where it is new.
    """

    def __init__(
        self,
        folder: Path,
        request: Request,
        config: Config,
        write_start: Callable[[Path], None] | None = None,
    ) -> None:
        self.folder = folder
        self.request = request
        self.config = config
        self.write_start = write_start

    def write(
        self,
        best: BestStates,
        optimizer: Optimizer,
        *,
        step: int,
        history: list[dict[str, float]],
        since_best: int,
        size: int,
        notes: list[str],
        scaler: dict[str, Any],
        beside: nn.Module | None = None,
    ) -> None:
        """Write the present state of everything, ``beside`` being what trains beside the model."""
        self.folder.mkdir(parents=True, exist_ok=True)
        start = self.folder / Path(START).name
        if self.write_start is not None and not start.exists():
            self.write_start(start)
        for number in best.numbers:
            if not (self.folder / _best(number)).is_file():
                _save(best.state(number), self.folder / _best(number))
        tensors, numbers = _of_optimizer(optimizer)
        tensors |= _random_states()
        if beside is not None:
            tensors |= {f"beside/{key}": t for key, t in take_state(beside).items()}
        name = f"step-{step}.safetensors"
        weights = _best(best.newest) if best.newest is not None else name
        if best.newest is None:
            tensors |= {f"weights/{key}": t for key, t in take_state(best.model).items()}
        _save(tensors, self.folder / name)
        progress = Progress(
            step=step,
            kept=tuple(Kept(n, _plain(s)) for s, n in best.kept),
            count=best.count,
            history=tuple({k: _plain(v) for k, v in entry.items()} for entry in history),
            since_best=since_best,
            size=size,
            notes=tuple(notes),
            weights=weights,
            tensors=name,
            rates=tuple(float(group["lr"]) for group in optimizer.param_groups),
            numbers=numbers,
            scaler=scaler,
        )
        state = Resumable(request=self.request, config=self.config, progress=progress)
        _replace(self.folder / "state.json", msgspec.json.encode(state))
        named = {name, *(_best(n) for n in best.numbers)}
        for file in (*self.folder.glob("*.safetensors"), *self.folder.glob("*.new")):
            if file.name not in named:
                file.unlink()


def restore_best(folder: Path, progress: Progress, best: BestStates) -> None:
    """Put the best states back.

    Raises:
        BundleError: A file is damaged.
    """
    files = {k.number: folder / _best(k.number) for k in progress.kept}
    kept = [(math.nan if k.score is None else k.score, k.number) for k in progress.kept]
    try:
        best.restore(kept, files, progress.count)
    except (OSError, SafetensorError) as error:
        raise damaged(folder, error) from error


def restore_weights(folder: Path, progress: Progress, best: BestStates) -> None:
    """Put the weights back that training goes on from.

    Raises:
        BundleError: A file is damaged.
    """
    found = _load(folder / progress.weights)
    if progress.weights == progress.tensors:
        found = _part(found, "weights/")
    put_state(best.model, found)


def restore_optimizer(
    folder: Path, progress: Progress, optimizer: Optimizer, schedule: LambdaLR
) -> None:
    """Put optimiser, schedule and random generators back.

    Raises:
        BundleError: A file is damaged.
    """
    found = _load(folder / progress.tensors)
    state: dict[int, dict[str, Any]] = {}
    values: dict[str, Any] = {**_part(found, "optimizer/"), **progress.numbers}
    for key, value in values.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = value
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
    for group, rate in zip(optimizer.param_groups, progress.rates, strict=True):
        group["lr"] = rate
    # Its rates follow from the number of the step alone.
    schedule.last_epoch = progress.step
    schedule._step_count = progress.step + 1  # else it complains of a step left out
    schedule._last_lr = list(progress.rates)
    torch.set_rng_state(found["random/cpu"])
    if "random/cuda" in found and torch.cuda.is_available():
        torch.cuda.set_rng_state(found["random/cuda"])


def restore_beside(folder: Path, progress: Progress, beside: nn.Module) -> None:
    """Put the weights back of what trains beside the model.

    Raises:
        BundleError: A file is damaged.
    """
    put_state(beside, _part(_load(folder / progress.tensors), "beside/"))


def history_of(progress: Progress) -> list[dict[str, float]]:
    """Return the entries of the history as they were."""
    return [{k: math.nan if v is None else v for k, v in e.items()} for e in progress.history]


def _of_optimizer(optimizer: Optimizer) -> tuple[State, dict[str, Any]]:
    tensors: State = {}
    numbers: dict[str, Any] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{index}/{name}"] = value.detach().cpu().contiguous()
            else:
                numbers[f"{index}/{name}"] = value
    return tensors, numbers


def _random_states() -> State:
    found = {"random/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        found["random/cuda"] = torch.cuda.get_rng_state()
    return found


def _best(number: int) -> str:
    return f"best-{number}.safetensors"


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _part(found: State, stem: str) -> State:
    return {key.removeprefix(stem): t for key, t in found.items() if key.startswith(stem)}


def _load(file: Path) -> State:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise damaged(file, error) from error


def _save(tensors: State, file: Path) -> None:
    new = file.with_suffix(".new")
    # A copy of each: safetensors refuses two names for one memory.
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, new)
    sync(new)
    new.rename(file)


def _replace(file: Path, content: bytes) -> None:
    new = file.with_suffix(".new")
    new.write_bytes(content)
    sync(new)
    new.replace(file)
    sync(file.parent)
