"""A trained predictor as a folder: JSON and safetensors, all that loading needs, no pickle.

- ``predictor.json``: what was asked and what came out: label, metrics, reasons, summary
- ``pipeline.json``: schema, processors with their tokenizers, programs
- ``config.json``: settings of the run
- ``logs/metrics.csv``: its validations; ``report.html``: what came of it, for people
- ``model.safetensors``: weights
- ``backbones/<encoder>/config.json``: architectures, so that no package and no hub is asked
- ``rows/golden.jsonl``, ``rows/calibration.jsonl``: rows that ``export`` takes along, and those
  that it compares on
- ``rows/tuning.jsonl``: rows with their label, to measure precisions on
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from safetensors import SafetensorError
from safetensors.torch import save_model

from automm.config.schema import Config, EncoderOptions
from automm.data.infer import ColumnReason
from automm.earlier import bring_config, load_weights
from automm.models.encoders import options_of
from automm.models.encoders.base import Encoder
from automm.models.fused import FusedModel
from automm.tasks import find_task
from automm.training.outcome import FitSummary, Trained
from automm.training.resume import STATE as RESUMABLE
from automm_serve.atomic import write_folder
from automm_serve.errors import BundleError
from automm_serve.golden import read_rows, write_rows
from automm_serve.pipeline import Pipeline, dump_pipeline, load_pipeline
from automm_serve.schema import Schema

T = TypeVar("T")

FORMAT = 4
"""Version that this release writes; it reads this one and every earlier one.

2 adds ``rows/tuning.jsonl``; 3 adds the temperature to the weights, and a threshold to the answer;
in 4 the linear model beside the network has texts and numbers too, and is not trained.
"""

RECORD = "predictor.json"
TUNING_FILE = "rows/tuning.jsonl"


class Record(Struct, frozen=True, kw_only=True):
    """What is known of a trained predictor beside its pipeline and weights.

    Attributes:
        format: Version of the folder.
        made_by: Release that trained it.
        label: Column that was learned.
        eval_metric: Default of ``evaluate``.
        validation_metric: What the best state was chosen by.
        reasons: What each column was taken for, and why.
        data_sha256: Of the training cells.
        summary: How training went.
    """

    format: int = FORMAT
    made_by: str
    label: str
    eval_metric: str
    validation_metric: str
    reasons: tuple[ColumnReason, ...]
    data_sha256: str = ""
    summary: FitSummary


class _Version(Struct):
    format: int = FORMAT


class Saved(Struct, frozen=True):
    """What a folder holds."""

    record: Record
    trained: Trained


def release() -> str:
    """Return the version of this distribution."""
    return version("automm-edge")


def write_predictor(
    saved: Saved,
    path: Path,
    *,
    replace: bool = False,
    known_by: str = RECORD,
    keep: str | None = None,
) -> None:
    """Write the folder, whole or not at all.

    Args:
        saved: The predictor.
        path: Of the folder.
        replace: Take the place of what is there.
        known_by: File by which that is known to be ours.
        keep: Name of a folder in it that shall outlive it.

    Raises:
        ConfigError: Something else is there.
    """
    # Here, as it brings Lightning, and what is only read has no use for that.
    from automm.training.logs import FOLDER as LOGS
    from automm.training.logs import course_as_csv

    trained = saved.trained
    with write_folder(path, replace=replace, known_by=known_by) as folder:
        if keep is not None and (path / keep).is_dir():
            shutil.copytree(path / keep, folder / keep)
        record = msgspec.structs.replace(saved.record, format=FORMAT)  # it may have been read
        (folder / RECORD).write_bytes(_pretty(record))
        (folder / "pipeline.json").write_bytes(dump_pipeline(trained.pipeline))
        (folder / "config.json").write_bytes(_pretty(trained.config))
        (folder / LOGS).mkdir(exist_ok=True)
        (folder / LOGS / "metrics.csv").write_bytes(course_as_csv(saved.record.summary.history))
        weights = folder / "model.safetensors"
        save_model(trained.model, str(weights))
        weights.chmod((folder / RECORD).stat().st_mode)  # safetensors lets only the owner read
        for name, encoder in trained.model.encoders.items():
            assert isinstance(encoder, Encoder)
            if encoder.backbone is not None:
                file = folder / "backbones" / name / "config.json"
                file.parent.mkdir(parents=True)
                file.write_bytes(_pretty(encoder.backbone))
        for name, rows in (("golden", trained.golden), ("calibration", trained.calibration)):
            write_rows(folder / "rows" / f"{name}.jsonl", trained.pipeline.schema, rows)
        if trained.tuning is not None:
            write_rows(folder / TUNING_FILE, _labelled(trained.pipeline), trained.tuning)


def read_predictor(path: Path) -> Saved:
    """Read the folder; no network is asked, and nothing of what trained it need be installed.

    Raises:
        BundleError: It is damaged, foreign, or written by a later release.
    """
    found = _read(path / RECORD, _Version).format  # first: a later record may have other fields
    if found > FORMAT:
        raise BundleError(
            where=str(path),
            what=f"it has format {found}, this release reads up to {FORMAT}",
            mend="Upgrade with",
            command="pip install --upgrade automm-edge",
        )
    record = _read(path / RECORD, Record)
    pipeline = load_pipeline(path / "pipeline.json")
    config = _read_config(path / "config.json", found)
    model = _build(path, pipeline, config, found)
    schema = pipeline.schema
    tuned = (path / TUNING_FILE).is_file()
    return Saved(
        record,
        Trained(
            config,
            pipeline,
            model,
            record.summary,
            read_rows(path / "rows" / "golden.jsonl", schema),
            read_rows(path / "rows" / "calibration.jsonl", schema),
            read_rows(path / TUNING_FILE, _labelled(pipeline)) if tuned else None,
        ),
    )


def _labelled(pipeline: Pipeline) -> Schema:
    """The columns that go in, and the label."""
    label = pipeline.programs["predict"].answer.columns[0]
    return Schema((*pipeline.schema.columns, label))


def _build(path: Path, pipeline: Pipeline, config: Config, version: int) -> FusedModel:
    """Make the architecture from the folder alone, and put the weights in."""
    task = find_task(pipeline.problem_type)
    answer = pipeline.programs["predict"].answer
    model = task.model(pipeline.processors, answer, _from_folder(path, pipeline, config))
    file = path / "model.safetensors"
    try:
        if strange := load_weights(model, file, version):
            raise RuntimeError(f"weights are missing or unknown: {', '.join(strange[:5])}")
    except (OSError, RuntimeError, SafetensorError) as error:
        raise _damaged(file, error) from error
    return model.eval()


def _from_folder(path: Path, pipeline: Pipeline, config: Config) -> Config:
    """The settings with every checkpoint replaced by the architecture that lies in the folder."""
    own: dict[str, EncoderOptions] = {}
    other: dict[str, dict[str, Any]] = dict(config.model.other)
    for processor in pipeline.processors:
        name = processor.name
        folder = path / "backbones" / name
        changes: dict[str, Any] = {"pretrained": False}
        options = options_of(config, name)
        if hasattr(options, "checkpoint_name"):
            if not (folder / "config.json").is_file():  # else training's own would be asked for
                raise _damaged(folder / "config.json", FileNotFoundError())
            changes["checkpoint_name"] = str(folder.resolve())
        if hasattr(config.model, name):
            own[name] = msgspec.structs.replace(options, **changes)
        else:
            other[name] = other.get(name, {}) | changes
    model = msgspec.structs.replace(config.model, other=other, **own)
    return msgspec.structs.replace(config, model=model)


def _pretty(content: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def _read(file: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(file, error) from error


def _read_config(file: Path, version: int) -> Config:
    try:
        return msgspec.json.decode(bring_config(file.read_bytes(), version), type=Config)
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> BundleError:
    missing = isinstance(error, FileNotFoundError)
    if missing and file.name == RECORD and (file.parent / RESUMABLE).is_file():
        return BundleError(
            where=str(file.parent),
            what="its fit was cut off",
            mend="Pass resume=True and fit again, or go on with",
            command=f"automm train --resume {file.parent}",
        )
    return BundleError(
        where=str(file),
        what="there is no such file" if missing else _first_words(error),
        mend="Pass the folder of a trained predictor"
        if missing
        else "Take the folder from its source again, or train it anew",
    )


def _first_words(error: Exception) -> str:
    """The first line, and the second where the first only announces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[: 2 if lines and lines[0].endswith((":", ":.")) else 1])
