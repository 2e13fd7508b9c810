"""What a fit that is cut off needs to go on: a folder of JSON and safetensors, no pickle.

- ``state.json``: how far it is, what was scored, numbers of the optimiser; it names the others
- ``best-<number>.safetensors``: a state that was among the best
- ``step-<number>.safetensors``: tensors of the optimiser and of the random generators, and the
  weights where they are not among the best
- ``start/``: where a predictor was trained on, that predictor, as it is saved

Files are written under names that are new, ``state.json`` takes the place of the one before in one
move, and what it no longer names is removed. So a kill at any moment leaves a state to go on from,
and no more than ``top_k + 1`` lie there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from msgspec import Struct
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from automm.config.schema import Config
from automm.training.soup import BestStates, State, put_state, take_state
from automm_serve.errors import BundleError, ConfigError

FORMAT = 1
FOLDER = "resume"
"""Below the predictor's path."""

STATE = f"{FOLDER}/state.json"
START = f"{FOLDER}/start"


class Request(Struct, frozen=True, kw_only=True):
    """What a fit was asked for, so that it need not be asked for again.

    Attributes:
        label: Column to predict.
        problem_type: As it was given, or inferred.
        metric: What the best state is chosen by.
        eval_metric: As it was given.
        seed: Of everything.
        train: SHA-256 of the training cells.
        valid: SHA-256 of the validation cells.
        data: Path of the table, where it was one.
        tuning_data: Likewise.
        column_types: As they were given.
        holdout_frac: As it was given.
        max_num_tuning_data: As it was given.
        image_root: As it was given.
        made_by: Release that trains.
    """

    label: str
    problem_type: str
    metric: str
    eval_metric: str | None
    seed: int
    train: str
    valid: str
    data: str | None = None
    tuning_data: str | None = None
    column_types: dict[str, str | None] | None = None
    holdout_frac: float | None = None
    max_num_tuning_data: int | None = None
    image_root: str | None = None
    made_by: str = ""


class Kept(Struct, frozen=True):
    """A state among the best; its score is None where it was no number."""

    number: int
    score: float | None


class Progress(Struct, frozen=True, kw_only=True):
    """How far a fit is.

    Attributes:
        step: Steps that are done.
        kept: States among the best, the best first.
        count: States that were ever kept.
        history: As in the summary; None stands for what is no number.
        since_best: Validations since the best one.
        size: Rows that are computed at once.
        notes: What was said.
        weights: File of the present weights.
        tensors: File of the optimiser's tensors.
        rates: Present learning rate of each group.
        numbers: What the optimiser has beside tensors, by parameter and name.
        scaler: Of mixed precision.
    """

    step: int
    kept: tuple[Kept, ...]
    count: int
    history: tuple[dict[str, float | None], ...]
    since_best: int
    size: int
    notes: tuple[str, ...]
    weights: str
    tensors: str
    rates: tuple[float, ...]
    numbers: dict[str, float | int | bool | None]
    scaler: dict[str, float | int]


class Resumable(Struct, frozen=True, kw_only=True):
    """``state.json``."""

    format: int = FORMAT
    request: Request
    config: Config
    progress: Progress


def read(path: Path) -> Resumable:
    """Read what a fit that was cut off has left below a predictor's path.

    Raises:
        ConfigError: There is nothing to go on from.
        BundleError: It is damaged, or of another release.
    """
    file = path / STATE
    if not file.is_file():
        raise ConfigError(
            where=f"folder {path}",
            what="no fit was cut off there after its first validation",
            mend="Pass the folder of one that was, or train anew",
        )
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Resumable)
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(file, error) from error
    if found.format != FORMAT:
        raise BundleError(
            where=str(file),
            what=f"it has format {found.format}, this release resumes format {FORMAT}",
            mend="Go on with the release that began, or train anew",
        )
    return found


def check_same(found: Resumable, request: Request, config: Config) -> None:
    """Refuse to go on with another table, other settings or another release.

    Raises:
        ConfigError: Something differs; the message says what.
    """
    old = found.request
    if old.made_by != request.made_by:
        what = f"{old.made_by} began, this is {request.made_by}"
        raise _other("release", what, "Go on with that release, or train anew")
    for name in ("train", "valid"):
        if getattr(old, name) != getattr(request, name):
            table = {"train": "training", "valid": "validation"}[name]
            what = f"the {table} rows are not those that it began with"
            raise _other("table", what, "Pass the same table and the same split, or train anew")
    for name in ("label", "problem_type", "metric", "seed"):
        if getattr(old, name) != getattr(request, name):
            what = f"{name} was {getattr(old, name)!r}, now it is {getattr(request, name)!r}"
            raise _other(name, what, "Pass what it began with, or train anew")
    for key, before, now in _differences(found.config, config):
        what = f"{key} was {before!r}, now it is {now!r}"
        raise _other(f"hyperparameter {key!r}", what, "Pass what it began with, or train anew")


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
    ) -> None:
        """Write the present state of everything."""
        self.folder.mkdir(parents=True, exist_ok=True)
        start = self.folder / Path(START).name
        if self.write_start is not None and not start.exists():
            self.write_start(start)
        for number in best.numbers:
            if not (self.folder / _best(number)).is_file():
                _save(best.state(number), self.folder / _best(number))
        tensors, numbers = _of_optimizer(optimizer)
        tensors |= _random_states()
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
        raise _damaged(folder, error) from error


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
        raise _damaged(file, error) from error


def _save(tensors: State, file: Path) -> None:
    new = file.with_suffix(".new")
    # A copy of each: safetensors refuses two names for one memory.
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, new)
    _flush(new)
    new.rename(file)


def _replace(file: Path, content: bytes) -> None:
    new = file.with_suffix(".new")
    new.write_bytes(content)
    _flush(new)
    new.replace(file)
    _flush(file.parent)


def _flush(path: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _differences(old: Config, new: Config) -> list[tuple[str, Any, Any]]:
    before, now = _leaves(msgspec.to_builtins(old)), _leaves(msgspec.to_builtins(new))
    return [
        (key, before.get(key), now.get(key))
        for key in {**before, **now}
        if before.get(key) != now.get(key)
    ]


def _leaves(tree: dict[str, Any], stem: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= _leaves(value, f"{stem}{key}.")
        else:
            found[f"{stem}{key}"] = value
    return found


def _other(where: str, what: str, mend: str) -> ConfigError:
    return ConfigError(where=f"going on with a fit, {where}", what=what, mend=mend)


def _damaged(file: Path, error: Exception) -> BundleError:
    return BundleError(
        where=str(file),
        what=str(error).splitlines()[0],
        mend="Train anew; what lies there cannot be gone on with",
    )
