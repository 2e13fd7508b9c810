"""Held-out quality of ours, the peer, a linear model and the trivial predictor on real sets.

    python -m benchmarks.quality --data DATA --peer PEER_PYTHON [--sets emoji,houses] [--minutes 60]

Both sides get the same files, pretrained towers, sizes, epochs, batch and rate
(``benchmarks/rivals/jobs.py``); ours has the other settings of preset ``edge``, the peer its own
defaults. Every fit is a process with one thread. What is done is not done again: results gather
in ``benchmarks/results/quality_runs.json`` over as many calls as one likes, and each call writes
``quality.json`` and ``quality.md`` anew. The seeds were fixed before the first run.

The peer is AutoGluon-Multimodal in an environment of its own.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from automm_serve.metrics import METRICS
from benchmarks.rivals.jobs import (
    describe_budget,
    describe_machine,
    make_job,
    peer_version,
    read_options,
    run_fit,
    score_cheap,
)
from benchmarks.rivals.results import read_results, write_json, write_results
from benchmarks.rivals.sets import SETS

SEEDS = (0, 1, 2)
SIDES = ("ours", "peer")
RESULTS = Path(__file__).with_name("results")
RUNS = RESULTS / "quality_runs.json"
DRAWS = 10_000


def main() -> None:
    """Run what is missing while there is time, then write the tables."""
    options = read_options(
        __doc__,
        sets=(str, "", "Some of them, by comma."),
        side=(str, ",".join(SIDES), "ours, peer or both."),
        minutes=(float, 60.0, "Begin no fit after that."),
    )
    runs = read_results(RUNS)
    runs |= {"made": {**describe_machine(), "peer": peer_version(options.peer)}}
    end = time.monotonic() + 60 * options.minutes
    names = options.sets.split(",") if options.sets else list(SETS)
    for seed in SEEDS:
        for name in names:
            job = make_job(name, seed, options.data, options.scratch)
            cheap = runs.setdefault("cheap", {})
            if name not in cheap:
                cheap[name] = score_cheap(job)
            for side in options.side.split(","):
                key = f"{name}/{seed}/{side}"
                if key in runs.setdefault("fits", {}) or time.monotonic() > end:
                    continue
                runs["fits"][key] = run_fit(side, job, options.scratch, options.peer)
                print(key, json.dumps(runs["fits"][key]), flush=True)
                write_results(RUNS, runs)
    rows = [row for name in SETS if (row := _row(name, runs)) is not None]
    write_json(RESULTS / "quality.json", {"made": runs["made"], "rows": rows})
    (RESULTS / "quality.md").write_text(_draw(rows, runs["made"]))
    print((RESULTS / "quality.md").read_text())


def _row(name: str, runs: dict[str, Any]) -> dict[str, Any] | None:
    """One set; None before both sides have a result. Seeds are those that both sides have."""
    fits = runs.get("fits", {})
    seeds = [s for s in SEEDS if all(f"{name}/{s}/{side}" in fits for side in SIDES)]
    if not seeds:
        return None
    scores = {side: [fits[f"{name}/{s}/{side}"]["score"] for s in seeds] for side in SIDES}
    metric = SETS[name].metric
    spread = {side: float(np.std(s, ddof=1)) if len(s) > 1 else None for side, s in scores.items()}
    return {
        "dataset": name,
        "metric": metric,
        "higher_is_better": METRICS[metric].greater_is_better,
        "ours": float(np.mean(scores["ours"])),
        "ours_std": spread["ours"],
        "peer": float(np.mean(scores["peer"])),
        "peer_std": spread["peer"],
        "linear": runs["cheap"][name].get("linear"),
        "trivial": runs["cheap"][name]["trivial"],
        "seeds": seeds,
    }


def _draw(rows: list[dict[str, Any]], made: dict[str, str]) -> str:
    lines = [
        "# Held-out quality beside the peer",
        "",
        f"`python -m benchmarks.quality`; {describe_budget()}, on both sides. "
        + ", ".join(f"{k} {v}" for k, v in made.items())
        + ".",
        "",
        "| set | metric | ours | peer | linear | trivial | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        linear = "-" if r["linear"] is None else f"{r['linear']:.3f}"
        lines.append(
            f"| {r['dataset']} | {r['metric']} | {_spread(r, 'ours')} | {_spread(r, 'peer')} | "
            f"{linear} | {r['trivial']:.3f} | {len(r['seeds'])} |"
        )
    if rows:
        mean, low, high = _effect(rows)
        ahead = sum(_gain(r) > 0 for r in rows)
        lines += [
            "",
            f"Ahead of the peer on {ahead} of {len(rows)}. Mean standardised difference "
            f"{mean:+.2f} (95 % bootstrap over the sets {low:+.2f} to {high:+.2f}).",
        ]
    return "\n".join(lines) + "\n"


def _spread(row: dict[str, Any], side: str) -> str:
    deviation = row[f"{side}_std"]
    return f"{row[side]:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


def _gain(row: dict[str, Any]) -> float:
    return float(row["ours"] - row["peer"]) * (1 if row["higher_is_better"] else -1)


def _effect(rows: list[dict[str, Any]]) -> tuple[float, float, float]:
    """The mean gain in pooled deviations of a seed, and its interval over the sets.

    A deviation counts as half a point at least, and a gain as five at most: no set whose seeds
    happen to agree outweighs all others.
    """
    sizes = np.array(
        [
            _gain(r) / max(0.005, np.hypot(r["ours_std"] or 0, r["peer_std"] or 0) / 2**0.5)
            for r in rows
        ]
    )
    sizes = np.clip(sizes, -5, 5)
    draw = np.random.default_rng(0).integers(len(sizes), size=(DRAWS, len(sizes)))
    low, high = np.percentile(sizes[draw].mean(axis=1), (2.5, 97.5))
    return float(sizes.mean()), float(low), float(high)


if __name__ == "__main__":
    main()
