"""Speed of training and of preprocessing beside the peer: same rows, towers, batch, one thread.

    python -m benchmarks.training --data DATA --peer PEER_PYTHON [--rounds 3]

Both sides fit in turns, so that the machine's moods are shared; the ratios are of the medians.
``rows_per_second`` is rows trained over the whole fit, wall clock, everything included: reading,
validation, the soup, and on our side the linear rival. Memory is the largest proportional set of
the process and its children. Preprocessing is what happens to a row before the model, 32 rows at
a time, of processors that have not seen these rows; beside it, for pictures, decoding and resizing
alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.rivals.jobs import (
    describe_machine,
    make_job,
    peer_version,
    read_options,
    run_fit,
)

SETS = ("ames_housing", "nyc_jobs", "fashion_mnist", "emoji")
"""Numbers and categories; text with them; pictures; all of them fused."""
RESULTS = Path(__file__).with_name("results") / "training.json"
EPOCHS = 2


def main() -> None:
    """Fit in turns, compare, write."""
    options = read_options(__doc__, rounds=(int, 3, "Fits of each side and set."))
    rows = []
    for name in SETS:
        job = make_job(name, 0, options.data, options.scratch, EPOCHS) | {"preprocess": True}
        runs: dict[str, list[dict[str, Any]]] = {"ours": [], "peer": []}
        for _ in range(options.rounds):
            for side, done in runs.items():
                done.append(run_fit(side, job, options.scratch, options.peer))
                print(name, side, json.dumps(done[-1]), flush=True)
        rows.append({"dataset": name, **_compare(runs["ours"], runs["peer"])})
    made = {**describe_machine(), "peer": peer_version(options.peer)}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"made": made, "rows": rows}, indent=1) + "\n")
    print(RESULTS.read_text())


def _compare(ours: list[dict[str, Any]], peer: list[dict[str, Any]]) -> dict[str, Any]:
    def of(runs: list[dict[str, Any]], name: str) -> float:
        return float(median(run[name] for run in runs))

    def speed(runs: list[dict[str, Any]], clock: str) -> float:
        return float(median(run["rows_trained"] / run[clock] for run in runs))

    before = "preprocess_rows_per_s"
    bare = of(ours, "bare_decode_rows_per_s") if "bare_decode_rows_per_s" in ours[0] else None
    return {
        "rows_per_second": round(speed(ours, "fit_wall_s"), 1),
        "rows_per_second_ratio": round(speed(ours, "fit_wall_s") / speed(peer, "fit_wall_s"), 2),
        "rows_per_cpu_second_ratio": round(speed(ours, "fit_cpu_s") / speed(peer, "fit_cpu_s"), 2),
        "preprocessing_rows_per_second": round(of(ours, before), 1),
        "preprocessing_ratio": round(of(ours, before) / of(peer, before), 2),
        "preprocessing_over_bare_decode": None
        if bare is None
        else round(of(ours, before) / bare, 2),
        "memory_ratio": round(of(ours, "peak_mb") / of(peer, "peak_mb"), 2),
        "rounds": len(ours),
    }


if __name__ == "__main__":
    main()
