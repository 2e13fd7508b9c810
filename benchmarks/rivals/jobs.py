"""Runs fits in processes of their own, watches their memory, and scores the cheap rivals."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.backbones import IMAGE_SIZE, image_folder, text_folder
from benchmarks.rivals.sets import SETS, TRAIN_ROWS, cut

ROOT = Path(__file__).resolve().parents[2]
PEER_SCRIPT = Path(__file__).with_name("fit_peer.py")
EPOCHS, BATCH, TEXT_LENGTH, RATE = 5, 16, 32, 2e-4
LIMIT_S = 1800


def make_job(
    name: str, seed: int, data: Path, scratch: Path, epochs: int = EPOCHS
) -> dict[str, Any]:
    """Return what both sides are asked: the same files, towers, sizes, epochs and rate."""
    chosen = SETS[name]
    train, test, kinds = cut(name, data, scratch / name)
    shared = {
        "model.hf_text.checkpoint_name": str(text_folder()),
        "model.hf_text.pooling_mode": "mean",
        "model.hf_text.max_text_len": TEXT_LENGTH,
        "model.timm_image.checkpoint_name": str(image_folder(scratch / "lite0")),
        "model.timm_image.image_size": IMAGE_SIZE,
        "optim.lr": RATE,
        "optim.max_epochs": epochs,
        "env.batch_size": BATCH,
        "env.per_gpu_batch_size": BATCH,
    }
    peer = {
        **shared,
        "model.names": ["ft_transformer", "timm_image", "hf_text", "fusion_mlp"],
        # Its text augmentation asks for a download, and without it swaps rows for others.
        "model.hf_text.text_trivial_aug_maxscale": 0.0,
        "env.num_workers": 0,
        "env.num_workers_inference": 0,
        "env.precision": 32,
        "optim.val_check_interval": 1.0,
    }
    return {
        "dataset": name,
        "seed": seed,
        "train": str(train),
        "test": str(test),
        "label": chosen.label,
        "problem_type": chosen.problem_type,
        "metric": chosen.metric,
        "kinds": kinds,
        "threads": 1,
        "ours": shared,
        "peer": peer,
    }


def run_fit(side: str, job: dict[str, Any], scratch: Path, peer_python: str) -> dict[str, Any]:
    """Fit in a new process; return its line, and the most memory of it and its children.

    Raises:
        RuntimeError: It failed, or took longer than half an hour.
    """
    folder = scratch / f"{job['dataset']}-{job['seed']}-{side}-{time.monotonic_ns()}"
    path = folder.with_suffix(".json")
    path.write_text(json.dumps({**job, "out": str(folder)}))
    command = (
        [sys.executable, "-m", "benchmarks.rivals.fit_ours", str(path)]
        if side == "ours"
        else [peer_python, str(PEER_SCRIPT), str(path)]
    )
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "AUTOMM_THREADS")}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **threads},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    peak = _Peak(process.pid)
    peak.start()
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise RuntimeError(f"{side} took longer than {LIMIT_S} s on {job['dataset']}") from None
    finally:
        peak.stop.set()
    if process.returncode:
        raise RuntimeError(f"{side} failed on {job['dataset']}:\n{err[-3000:]}")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return {**found, "peak_mb": round(peak.most / 1e6, 1)}


class _Peak(threading.Thread):
    """Samples the proportional memory (PSS) of a process and its children."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.most, self.stop = pid, 0, threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.25):
            self.most = max(self.most, sum(_pss(pid) for pid in _family(self.pid)))


def _family(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def score_cheap(job: dict[str, Any]) -> dict[str, float]:
    """Score the trivial predictor and the linear model of ``automm.training.rivals``."""
    from automm.data.rows import prepare_rows
    from automm.tasks import find_task
    from automm.training.rivals import fit_linear
    from automm_serve.metrics import score
    from automm_serve.schema import Column, Schema
    from automm_serve.table import read_table

    train, test = read_table(job["train"]), read_table(job["test"])
    schema = Schema(tuple(Column(name, kind) for name, kind in job["kinds"].items()))
    answer = find_task(job["problem_type"]).answer(job["label"], train)
    learnt, asked = (prepare_rows("rows", table, (), answer, 0)[0] for table in (train, test))
    rival = fit_linear(schema, answer, learnt, asked, budget_s=600.0)
    found = {"trivial": _trivial(answer, learnt, len(asked))}
    if rival is not None:
        found["linear"] = rival.tensors
    truth = asked.table[job["label"]]
    return {
        name: float(score(job["metric"], answer, truth, answer.decode(t))[job["metric"]])
        for name, t in found.items()
    }


def _trivial(answer: Any, learnt: Any, rows: int) -> dict[str, Any]:
    """Shares of the classes, or the mean, for so many rows."""
    if "classes" in learnt.targets:
        counts = np.bincount(learnt.targets["classes"], minlength=len(answer.classes))
        shares = (counts / counts.sum()).astype(np.float32)
        return {"probabilities": np.tile(shares, (rows, 1))}
    return {"values": np.full((rows, 1), answer.mean, np.float32)}


def describe_budget() -> str:
    """Return what every fit gets, for the head of a table."""
    return (
        f"at most {TRAIN_ROWS} training rows, {EPOCHS} epochs, batch {BATCH}, rate {RATE:g}, "
        f"pictures of {IMAGE_SIZE} pixels, texts of {TEXT_LENGTH} tokens, MiniLM and "
        "EfficientNet-Lite0, one thread"
    )


def read_options(doc: str, *, peer: bool = True, **more: tuple[type, Any, str]) -> Any:
    """Return the options that every comparison takes, and more of its own.

    Args:
        doc: Of the script.
        peer: Ask for the Python of the peer's environment.
        more: Name -> type, default, help.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    data = os.environ.get("AUTOMM_EDGE_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(data), help="Folder of the real sets.")
    parser.add_argument("--scratch", type=Path, default=Path("build/rivals"))
    if peer:
        parser.add_argument("--peer", required=True, help="Python of the peer's environment.")
    for name, (kind, default, text) in more.items():
        parser.add_argument(f"--{name}", type=kind, default=default, help=text)
    options = parser.parse_args()
    options.scratch = options.scratch.resolve()
    options.data = options.data.resolve()
    return options


def describe_machine() -> dict[str, str]:
    """Return machine and versions, for the head of a table."""
    names = ("automm-edge", "torch", "transformers", "timm", "scikit-learn", "numpy")
    return {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def peer_version(peer_python: str) -> str:
    """Return the version of the peer, asked of its own environment."""
    code = "from importlib.metadata import version; print(version('autogluon.multimodal'))"
    done = subprocess.run([peer_python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()
