"""The recorded search behind preset ``edge``: random settings, each fitted on several real sets.

    python -m benchmarks.search --data DATA [--minutes 60]

Trial 0 is the preset as it was before the search, with the batches of the quality benchmark; the
others are drawn from ``SPACE`` by their number, so that the list was fixed before the first run;
the last was chosen from what they showed, and is the preset as it is now. Every trial learns from
the same part of the training rows of each set and is scored on the other part; the test rows of the
quality benchmark are never seen. Results gather in ``benchmarks/results/search.json`` over as many
calls as one likes; each call writes ``docs/results/search.md`` anew.
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.rivals.jobs import TEXT_LENGTH, describe_machine, read_options
from benchmarks.rivals.results import read_results, write_results
from benchmarks.rivals.sets import SETS, cut

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "search.json"
PAGE = HERE.parent / "docs" / "results" / "search.md"

SEARCHED = ("ames_housing", "spambase", "nyc_jobs", "airbnb_nyc", "magnetic_tile")
LEARNT, SCORED = 400, 1000
"""Most rows of each set; both of its training rows."""

EPOCHS, TRIALS, SEED = 5, 26, 20261201

START: dict[str, Any] = {
    "optim.lr": 2e-4,
    "optim.lr_decay": 0.9,
    "optim.weight_decay": 1e-3,
    "optim.top_k": 3,
    "optim.label_smoothing": 0.0,
    "env.batch_size": 16,
    "model.hf_text.frozen_blocks": 5,
    "model.hf_text.lr_mult": 1.0,
    "model.timm_image.frozen_blocks": 4,
    "model.timm_image.lr_mult": 2.5,
    "model.ft_transformer.token_dim": 64,
    "model.ft_transformer.num_blocks": 2,
    "model.ft_transformer.attention_dropout": 0.2,
    "model.ft_transformer.lr_mult": 5.0,
    "model.fusion_mlp.lr_mult": 10.0,
    "model.fusion_mlp.dropout": 0.1,
    "model.fusion_mlp.aux_loss_weight": None,
    "model.wide.use": True,
}
"""Preset ``edge`` before this search, but for its batches: they had 32 rows."""

SPACE: dict[str, tuple[Any, ...]] = {
    "optim.lr": (1e-4, 2e-4, 4e-4, 8e-4),
    "optim.lr_decay": (0.8, 0.9, 1.0),
    "optim.weight_decay": (1e-4, 1e-3, 1e-2, 1e-1),
    "optim.top_k": (1, 3, 5),
    "optim.label_smoothing": (0.0, 0.05, 0.1),
    "env.batch_size": (8, 16, 32),
    "model.hf_text.frozen_blocks": (0, 3, 5),
    "model.hf_text.lr_mult": (0.5, 1.0, 2.0),
    "model.timm_image.frozen_blocks": (0, 2, 4),
    "model.timm_image.lr_mult": (1.0, 2.5, 5.0),
    "model.ft_transformer.token_dim": (64, 128, 192),
    "model.ft_transformer.num_blocks": (1, 2, 3),
    "model.ft_transformer.attention_dropout": (0.0, 0.1, 0.2),
    "model.ft_transformer.lr_mult": (2.5, 5.0, 10.0, 20.0),
    "model.fusion_mlp.lr_mult": (2.5, 5.0, 10.0, 20.0),
    "model.fusion_mlp.dropout": (0.0, 0.1, 0.3),
    "model.fusion_mlp.aux_loss_weight": (None, 0.1, 0.5),
    "model.wide.use": (False, True),
}


TAKEN: dict[str, Any] = {
    "model.hf_text.frozen_blocks": 3,
    "model.timm_image.lr_mult": 1.5,
    "model.ft_transformer.token_dim": 128,
}
"""What the preset took over, after the best trial; it is trial number ``TRIALS``."""


def main() -> None:
    """Run what is missing while there is time, then write the page."""
    options = read_options(
        __doc__,
        peer=False,
        minutes=(float, 60.0, "Begin no fit after that."),
        first=(int, 0, "Trial to begin with: two calls may share the work."),
        last=(int, TRIALS, "Trial to end with."),
    )
    found = read_results(RESULTS)
    found |= {"made": describe_machine(), "rows": LEARNT, "epochs": EPOCHS}
    fits = found.setdefault("fits", {})
    end = time.monotonic() + 60 * options.minutes
    for trial in range(options.first, options.last + 1):
        for name in SEARCHED:
            key = f"{trial}/{name}"
            if key in fits or time.monotonic() > end:
                continue
            fits[key] = _fit(name, draw(trial), options.data, options.scratch)
            print(key, json.dumps(fits[key]), flush=True)
            write_results(RESULTS, found)
    PAGE.write_text(draw_page(found))
    print(PAGE.read_text())


def draw(trial: int) -> dict[str, Any]:
    """Return the settings of a trial: half of them as before, so that a gain has few causes."""
    if trial == 0:
        return START
    if trial == TRIALS:
        return START | TAKEN
    random = np.random.default_rng((SEED, trial))
    changed = {
        key: values[int(random.integers(len(values)))]
        for key, values in SPACE.items()
        if random.random() < 0.5
    }
    return START | changed


def _fit(name: str, settings: dict[str, Any], data: Path, scratch: Path) -> dict[str, float]:
    import torch

    from automm import MultiModalPredictor
    from benchmarks.rivals.fit_ours import KINDS

    torch.set_num_threads(1)
    chosen = SETS[name]
    path, _, kinds = cut(name, data, scratch / name, LEARNT + SCORED)
    rows = pd.read_parquet(path).sample(frac=1, random_state=SEED)
    shared = {
        "model.hf_text.max_text_len": TEXT_LENGTH,
        "optim.max_epochs": EPOCHS,
        "env.per_gpu_batch_size": settings["env.batch_size"],
    }
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictor = MultiModalPredictor(
            label=chosen.label,
            problem_type=chosen.problem_type,
            presets="edge",
            eval_metric=chosen.metric,
            path=Path(folder) / "predictor",
            verbosity=0,
        )
        predictor.fit(
            rows[:LEARNT],
            hyperparameters=shared | settings,
            column_types={column: KINDS[kind] for column, kind in kinds.items()},
        )
        asked = rows[LEARNT : LEARNT + SCORED]
        score = predictor.evaluate(asked, metrics=chosen.metric)[chosen.metric]
    return {"score": round(float(score), 5), "cpu_s": round(time.process_time() - began, 1)}


def draw_page(found: dict[str, Any]) -> str:
    """Return the trials that ran on every set, the best first, as a page."""
    fits = found["fits"]
    whole = [t for t in range(TRIALS + 1) if all(f"{t}/{name}" in fits for name in SEARCHED)]
    scores = np.array([[fits[f"{t}/{name}"]["score"] for name in SEARCHED] for t in whole])
    # A set counts by how far its trials lie from the start, in the spread of the middle half.
    spread = np.subtract(*np.percentile(scores, (75, 25), axis=0)) if len(whole) > 1 else 1.0
    gains = np.clip((scores - scores[0]) / np.maximum(spread, 1e-3), -3, 3)
    made = ", ".join(f"{k} {v}" for k, v in found["made"].items())
    lines = [
        "# The search behind `edge`",
        "",
        f"`python -m benchmarks.search`; {len(fits)} fits, {len(whole)} trials on every set; "
        f"{LEARNT} rows to learn from, {SCORED} other training rows to score on, {EPOCHS} epochs, "
        f"one thread. {made}.",
        "",
        "Gain: the mean over the sets of the difference from trial 0, the preset before the "
        "search, in quartile distances of the trials, each between -3 and 3. "
        f"Trial {TRIALS} was chosen after the others, by other draws of rows "
        "([decision 32](../decisions/0032-what-edge-took-over-from-its-search.md)), and is the "
        "preset now.",
        "",
        f"| trial | gain | {' | '.join(SEARCHED)} | differs from trial 0 by |",
        f"|---|---|{'---|' * len(SEARCHED)}---|",
    ]
    for index in np.argsort(-gains.mean(axis=1), kind="stable"):
        trial = whole[index]
        changed = {k: v for k, v in draw(trial).items() if v != START[k]}
        cells = " | ".join(f"{score:.3f}" for score in scores[index])
        what = ", ".join(f"`{k.removeprefix('model.')}={v}`" for k, v in changed.items()) or "-"
        lines.append(f"| {trial} | {gains[index].mean():+.2f} | {cells} | {what} |")
    return "\n".join([*lines, "", *_effects(found, whole, gains.mean(axis=1))]) + "\n"


def _effects(found: dict[str, Any], whole: list[int], gains: Any) -> list[str]:
    """The mean gain of the trials that share a value, setting by setting."""
    lines = ["| setting | mean gain of the trials with each value |", "|---|---|"]
    for key, values in SPACE.items():
        cells = []
        for value in values:
            own = [
                gain
                for trial, gain in zip(whole, gains, strict=True)
                if trial < TRIALS and draw(trial)[key] == value
            ]
            cells.append(f"{value}: {np.mean(own):+.2f} ({len(own)})" if own else f"{value}: -")
        lines.append(f"| `{key}` | {', '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
