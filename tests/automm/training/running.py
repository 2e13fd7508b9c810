"""Fits of a second or two, in this process and in others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from tests.pets import pets
from tests.tiny_models import make_text_model

COLUMNS = ("title", "weight", "age", "city", "kind")
TYPES: dict[str, str | None] = {"title": "text", "city": "categorical"}


def table(rows: int = 60, seed: int = 0) -> dict[str, list[object]]:
    """Text and table columns, and a label of three classes."""
    found = pets(rows, seed)
    return {name: found[name] for name in COLUMNS}


def settings(folder: Path, **changes: object) -> dict[str, object]:
    """Settings of a model of a few thousand weights, with dropout."""
    if not (folder / "text").exists():
        make_text_model(folder / "text")
    return {
        "model.names": ["hf_text", "ft_transformer", "fusion_mlp"],
        "model.hf_text.checkpoint_name": str(folder / "text"),
        "model.hf_text.max_text_len": 16,
        "model.hf_text.frozen_blocks": 1,
        "model.ft_transformer.token_dim": 8,
        "model.ft_transformer.num_blocks": 1,
        "model.fusion_mlp.adapt_in_features": 16,
        "optim.lr": 3e-3,
        "optim.max_epochs": 3,
        "optim.val_check_interval": 0.5,
        "env.batch_size": 16,
        "env.per_gpu_batch_size": 8,
        "env.accelerator": "cpu",
        **{key.replace("__", "."): value for key, value in changes.items()},
    }


def write_script(folder: Path, body: str, **given: Any) -> Path:
    """Write a script that has ``given`` as a dict, and the project on its path."""
    script = folder / "script.py"
    root = Path(__file__).parents[3]
    script.write_text(
        "import json, sys, warnings\n"
        f"sys.path.insert(0, {str(root)!r})\n"
        "warnings.simplefilter('ignore')\n"
        f"given = json.loads({json.dumps(json.dumps(given))})\n"
        "from automm.predictor import MultiModalPredictor\n"
        "if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in body.splitlines())
    )
    return script


def output(process: subprocess.Popen[str]) -> IO[str]:
    """What the process prints."""
    assert process.stdout is not None
    return process.stdout


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start Python with these arguments, on one thread."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "AUTOMM_THREADS": "1", "OMP_NUM_THREADS": "1", **environment},
    )
