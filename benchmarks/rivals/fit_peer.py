"""One fit of AutoGluon-Multimodal, by the Python of its own environment: ``fit_peer.py JOB.json``.

It stands on nothing of this project, because that environment has nothing of it.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

KINDS = {
    "image": "image_bytearray",
    "text": "text",
    "number": "numerical",
    "category": "categorical",
}


def main(path: str) -> None:
    """Fit, evaluate on the test rows, print one JSON line."""
    job: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    os.environ["HF_HUB_OFFLINE"] = "1"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(job["threads"])
    talk, sys.stdout = sys.stdout, sys.stderr
    import pandas as pd
    import torch
    from autogluon.multimodal import MultiModalPredictor  # type: ignore[import-not-found]
    from autogluon.multimodal.optim.lit_module import LitModule  # type: ignore[import-not-found]

    torch.set_num_threads(job["threads"])
    rows = 0
    step = LitModule.training_step

    def counted(module: Any, batch: Any, batch_idx: int) -> Any:
        nonlocal rows
        rows += len(batch[module.model.label_key])
        return step(module, batch, batch_idx)

    LitModule.training_step = counted
    train, test = pd.read_parquet(job["train"]), pd.read_parquet(job["test"])
    predictor = MultiModalPredictor(
        label=job["label"],
        problem_type=job["problem_type"],
        eval_metric=job["metric"],
        path=job["out"],
        enable_progress_bar=False,
        verbosity=0,
    )
    start, cpu = time.monotonic(), time.process_time()
    predictor.fit(
        train,
        hyperparameters=job["peer"],
        column_types={name: KINDS[kind] for name, kind in job["kinds"].items()},
        seed=job["seed"],
    )
    wall, cpu = time.monotonic() - start, time.process_time() - cpu
    score = predictor.evaluate(test, metrics=[job["metric"]])
    found = {
        "score": float(score[job["metric"]]),
        "fit_wall_s": wall,
        "fit_cpu_s": cpu,
        "rows_trained": rows,
    }
    if job.get("preprocess"):
        found["preprocess_rows_per_s"] = len(test) / min(_load(predictor, test) for _ in range(3))
    talk.write(json.dumps(found) + "\n")


def _load(predictor: Any, table: Any) -> float:
    """Seconds of its data path before the model, in this process."""
    from autogluon.multimodal.data import BaseDataModule  # type: ignore[import-not-found]

    learner = predictor._learner
    processors = {k: v for k, v in learner._data_processors.items() if k != "label"}
    start = time.perf_counter()
    module = BaseDataModule(
        df_preprocessor=learner._df_preprocessor,
        data_processors=processors,
        per_gpu_batch_size=32,
        num_workers=0,
        predict_data=table,
    )
    module.setup("predict")
    for _ in module.predict_dataloader():
        pass
    return time.perf_counter() - start


if __name__ == "__main__":
    main(sys.argv[1])
