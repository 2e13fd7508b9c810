"""One fit of ours in a process of its own: ``python -m benchmarks.rivals.fit_ours JOB.json``."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

KINDS = {"image": "image", "text": "text", "number": "numerical", "category": "categorical"}


def main(path: str) -> None:
    """Fit, evaluate on the test rows, print one JSON line."""
    job: dict[str, Any] = json.loads(Path(path).read_text())
    import torch

    torch.set_num_threads(job["threads"])
    import warnings

    from automm import MultiModalPredictor

    warnings.simplefilter("ignore")
    predictor = MultiModalPredictor(
        label=job["label"],
        problem_type=job["problem_type"],
        presets="edge",
        eval_metric=job["metric"],
        path=job["out"],
        verbosity=0,
    )
    start, cpu = time.monotonic(), time.process_time()
    predictor.fit(
        job["train"],
        hyperparameters=job["ours"],
        column_types={name: KINDS[kind] for name, kind in job["kinds"].items()},
        seed=job["seed"],
    )
    wall, cpu = time.monotonic() - start, time.process_time() - cpu
    summary = predictor.fit_summary()
    epochs = summary["history"][-1]["epoch"]
    score = predictor.evaluate(job["test"], metrics=job["metric"])
    found = {
        "score": float(score[job["metric"]]),
        "fit_wall_s": wall,
        "fit_cpu_s": cpu,
        "rows_trained": round(epochs * summary["rows"]["train"]),
    }
    if job.get("preprocess"):
        found |= _preprocess(predictor, job["test"])
    print(json.dumps(found))


def _preprocess(predictor: Any, path: str) -> dict[str, float]:
    """Rows a second of the processors, 32 rows at a time; and of bare decoding and resizing."""
    from msgspec.structs import replace

    from automm_serve.table import read_table
    from automm_serve.tensors import count_rows, take_rows

    pipeline = predictor.exportable().pipeline
    table, _ = pipeline.schema.conform(read_table(path))
    rows = count_rows(table)
    chunks = [take_rows(table, range(i, min(i + 32, rows))) for i in range(0, rows, 32)]

    def transform(processors: list[Any]) -> None:
        for chunk in chunks:
            for processor in processors:
                processor.transform(chunk)

    def forget() -> list[Any]:
        """Processors that have seen none of the rows, with their tokenizers loaded."""
        made = [replace(processor) for processor in pipeline.processors]
        for processor in made:
            processor.transform({column: [None] for column in processor.columns})
        return made

    found = {"preprocess_rows_per_s": rows / _best_of_three(transform, forget)}
    pictures = [c.name for c in pipeline.schema.columns if c.kind == "image"]
    if pictures:
        side = next(p for p in pipeline.processors if p.name.startswith("timm_image")).height
        cells = [cell for name in pictures for cell in table[name] if cell is not None]
        bare = _best_of_three(lambda side: [_decode(cell, side) for cell in cells], lambda: side)
        found["bare_decode_rows_per_s"] = rows / bare
    return found


def _decode(picture: bytes, side: int) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(picture)) as image:
        scale = side / min(image.size)
        size = (max(side, round(image.width * scale)), max(side, round(image.height * scale)))
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))


def _best_of_three(work: Callable[[Any], object], prepare: Callable[[], object]) -> float:
    seconds = []
    for _ in range(3):
        ready = prepare()
        start = time.perf_counter()
        work(ready)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    main(sys.argv[1])
