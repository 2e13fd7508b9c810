"""The paper's ablation (table 6) on real sets: each of its five tricks alone, and all of them.

    python -m benchmarks.ablation --data DATA [--sets ames_housing,nyc_jobs] [--minutes 60]

Sets, rows, towers, epochs, batch, rate and seeds are those of ``benchmarks.quality``. What is done
is not done again: fits gather in ``benchmarks/results/ablation.json``, and each call writes
``docs/results/ablation.md`` anew.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from automm_serve.metrics import METRICS
from benchmarks.quality import SEEDS
from benchmarks.rivals.jobs import (
    describe_budget,
    describe_machine,
    make_job,
    read_options,
    run_fit,
)
from benchmarks.rivals.results import read_results, write_results
from benchmarks.rivals.sets import SETS

RESULTS = Path(__file__).with_name("results") / "ablation.json"
PAGE = Path(__file__).parents[1] / "docs" / "results" / "ablation.md"

BASE: dict[str, Any] = {
    "optim.lr_schedule": "constant",
    "optim.warmup_steps": 0.0,
    "optim.gradient_clip_val": 0.0,
    "optim.top_k_average_method": "best",
    "optim.lr_decay": 1.0,
    "optim.weight_decay": 0.0,
}
"""No trick at all."""

TRICKS: dict[str, dict[str, Any]] = {
    "cosine_decay": {"optim.lr_schedule": "cosine_decay", "optim.warmup_steps": 0.1},
    "grad_clip": {"optim.gradient_clip_val": 1.0},
    "greedy_soup": {"optim.top_k_average_method": "greedy_soup"},
    "layerwise_lr_decay": {"optim.lr_decay": 0.9},
    "weight_decay": {"optim.weight_decay": 1e-3},
}

VARIANTS: dict[str, dict[str, Any]] = {
    "base": BASE,
    **{f"+{name}": BASE | trick for name, trick in TRICKS.items()},
    "+all": {key: value for trick in TRICKS.values() for key, value in trick.items()},
}


def main() -> None:
    """Run what is missing while there is time, then write the page."""
    options = read_options(
        __doc__,
        peer=False,
        sets=(str, "", "Some of them, by comma."),
        minutes=(float, 60.0, "Begin no fit after that."),
    )
    found = read_results(RESULTS)
    found["made"] = describe_machine()
    fits = found.setdefault("fits", {})
    end = time.monotonic() + 60 * options.minutes
    names = options.sets.split(",") if options.sets else list(SETS)
    for seed in SEEDS:
        for name in names:
            job = make_job(name, seed, options.data, options.scratch)
            for variant, settings in VARIANTS.items():
                key = f"{name}/{seed}/{variant}"
                if key in fits or time.monotonic() > end:
                    continue
                changed = {**job, "ours": job["ours"] | settings}
                fits[key] = run_fit("ours", changed, options.scratch, "")
                print(key, json.dumps(fits[key]), flush=True)
                write_results(RESULTS, found)
    PAGE.write_text(_draw(found))
    print(PAGE.read_text())


def _draw(found: dict[str, Any]) -> str:
    """Mean scores over the seeds that every variant of a set has, the best in bold."""
    fits = found["fits"]
    lines = [
        "# Each trick alone, and all",
        "",
        f"`python -m benchmarks.ablation`; {describe_budget()}. "
        + ", ".join(f"{k} {v}" for k, v in found["made"].items())
        + ".",
        "",
        f"| set | metric | seeds | {' | '.join(VARIANTS)} |",
        f"|---|---|---|{'---|' * len(VARIANTS)}",
    ]
    wins = dict.fromkeys(VARIANTS, 0)
    rows = 0
    for name, chosen in SETS.items():
        seeds = [s for s in SEEDS if all(f"{name}/{s}/{v}" in fits for v in VARIANTS)]
        if not seeds:
            continue
        rows += 1
        sign = 1 if METRICS[chosen.metric].greater_is_better else -1
        means = {
            v: float(np.mean([fits[f"{name}/{s}/{v}"]["score"] for s in seeds])) for v in VARIANTS
        }
        best = max(sign * mean for mean in means.values())
        cells = []
        for variant, mean in means.items():
            wins[variant] += sign * mean >= sign * means["base"]
            cells.append(f"**{mean:.3f}**" if sign * mean == best else f"{mean:.3f}")
        lines.append(f"| {name} | {chosen.metric} | {len(seeds)} | {' | '.join(cells)} |")
    lines += ["", f"No worse than base, of {rows} sets: "]
    lines[-1] += ", ".join(f"{v} {count}" for v, count in wins.items() if v != "base") + "."
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
