"""What a metric is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

from msgspec import Struct
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Score: TypeAlias = Callable[[Array, Array, Array, Sequence[object]], float]
"""``(truth, prediction, probabilities, classes) -> score``. Classes are int64 (rows,), codes in the
order of ``classes``, and probabilities are (rows, classes); numbers are float64 (rows,), and the
last two are empty."""

CLASSES = ("binary", "multiclass")
NUMBERS = ("regression",)


class Metric(Struct, frozen=True):
    """One way to compare answers with the truth.

    Attributes:
        name: As users type it.
        function: What computes it.
        problem_types: Those that it is for.
        greater_is_better: False for errors and losses; they are reported as they are, positive.
        needs: What it reads beside the truth: ``prediction`` or ``probabilities``.
        meaning: What it measures, in a line.
        undefined: When it is NaN; empty where it always has a value.
    """

    name: str
    function: Score
    problem_types: tuple[str, ...]
    greater_is_better: bool = True
    needs: Literal["prediction", "probabilities"] = "prediction"
    meaning: str = ""
    undefined: str = ""


def spelled(
    names: tuple[str, ...], function: Score, problem_types: tuple[str, ...], **more: Any
) -> list[Metric]:
    """Return a metric once for each of its names."""
    return [Metric(name, function, problem_types, **more) for name in names]
