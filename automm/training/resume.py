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

from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Struct

from automm.config.schema import Config
from automm_serve.errors import BundleError, ConfigError

T = TypeVar("T")

FORMAT = 2
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
        teacher_predictor: Folder of the teacher, where it lay in one.
        teacher: Its SHA-256; empty where there was none.
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
    teacher_predictor: str | None = None
    teacher: str = ""
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


class _Version(Struct):
    format: int = 1


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
    return read_state(file, Resumable, FORMAT)


def read_state(file: Path, kind: type[T], version: int) -> T:
    """Read what is gone on from.

    Args:
        file: JSON, with its ``format``.
        kind: Of what it holds.
        version: The only one that can be gone on from.

    Raises:
        BundleError: It is damaged, or of another release.
    """
    try:
        content = file.read_bytes()
        found = msgspec.json.decode(content, type=_Version).format  # of another all is otherwise
        if found == version:
            return msgspec.json.decode(content, type=kind)
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(file, error) from error
    raise BundleError(
        where=str(file),
        what=f"it has format {found}, this release resumes format {version}",
        mend="Go on with the release that began, or train anew",
    )


class Begun(Protocol):
    """What was asked of a fit or a search that was cut off."""

    @property
    def request(self) -> Request:
        """What it was asked for."""

    @property
    def config(self) -> Config:
        """Its settings."""


def check_same(found: Begun, request: Request, config: Config) -> None:
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
    if old.teacher != request.teacher:
        what = "the teacher is not the one that it began with"
        raise _other(
            "teacher",
            what if old.teacher else "it began without one",
            "Pass what it began with, or train anew",
        )
    for name in ("label", "problem_type", "metric", "seed"):
        if getattr(old, name) != getattr(request, name):
            what = f"{name} was {getattr(old, name)!r}, now it is {getattr(request, name)!r}"
            raise _other(name, what, "Pass what it began with, or train anew")
    for key, before, now in _differences(found.config, config):
        what = f"{key} was {before!r}, now it is {now!r}"
        raise _other(f"hyperparameter {key!r}", what, "Pass what it began with, or train anew")


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


def damaged(file: Path, error: Exception) -> BundleError:
    """Make the error for a file that cannot be read."""
    return BundleError(
        where=str(file),
        what=str(error).splitlines()[0],
        mend="Train anew; what lies there cannot be gone on with",
    )
