"""Write ``docs/metrics.md``: every metric, what it means, and when it has no value.

python -m scripts.metrics_page          # part of `make regen`; a test compares
"""

from __future__ import annotations

from pathlib import Path

from automm_serve.metrics import DEFAULT_METRICS, METRICS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"

HEAD = """\
# Metrics

The same functions score validation rows in training, a predictor, a bundle and a served model.
Names and values are AutoGluon's, and so scikit-learn's and scipy's, which tests compare to 1e-9.
Losses and errors are reported as they are, positive. This page is generated (`make regen`).

```python
from automm import MultiModalPredictor

predictor = MultiModalPredictor(label="kind", eval_metric="f1_macro").fit("train.csv")
predictor.evaluate("test.csv", metrics=["accuracy", "log_loss"])
```

A score that is not defined is NaN, and NaN never counts as better. `direct_loss` is the loss that
training lowers: `log_loss` for classes, `mse` for numbers. Names may be written in capitals.
"""

TAIL = """\
## Of one's own

A function of the truth, the answers, the probabilities and the classes, that returns a number.
Truth and answers are codes in the order of `class_labels`, or numbers (float64); probabilities are
(rows, classes), empty for numbers.

```python
def cost(truth, prediction, probabilities, classes):
    return ((truth == 1) & (prediction == 0)).sum() * 10 + ((truth == 0) & (prediction == 1)).sum()


cost.greater_is_better = False

predictor = MultiModalPredictor(label="kind", eval_metric=cost).fit("train.csv")
predictor.evaluate("test.csv", metrics=[cost, "accuracy"])
```

A predictor keeps the function's name and not the function: after `load`, pass it to `evaluate`. A
scorer of AutoGluon's `make_scorer` is taken as well. A distribution offers its metrics by name, to
everything that evaluates, `automm evaluate --metric cost` among it:

```toml
[project.entry-points."automm.metrics"]
cost = "my_package.metrics:cost"
```
"""


def page() -> str:
    """Return the whole page."""
    lines = [HEAD]
    for problem_type, default in DEFAULT_METRICS.items():
        lines += [
            f"## {problem_type}",
            "",
            f"`{default}` is the default, of evaluation and of validation.",
            "",
            "| name | better | what | NaN |",
            "|---|---|---|---|",
        ]
        rows: dict[tuple[str, str, bool], list[str]] = {}
        for name, metric in METRICS.items():
            if problem_type in metric.problem_types:
                key = (metric.meaning, metric.undefined, metric.greater_is_better)
                rows.setdefault(key, []).append(f"`{name}`")
        for (meaning, undefined, greater), names in rows.items():
            better = "more" if greater else "less"
            lines.append(f"| {' '.join(names)} | {better} | {meaning} | {undefined or 'never'} |")
        lines.append("")
    return "\n".join([*lines, TAIL])


if __name__ == "__main__":
    PAGE.write_text(page())
