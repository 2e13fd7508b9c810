"""How sure the answers are, and how often they are right: a reliability diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from automm.report.html import charts
from automm.report.html.evidence import Evidence
from automm.report.html.markup import Markup, el, join
from automm_serve.answers import ClassesAnswer
from automm_serve.answers.classes import HALF

if TYPE_CHECKING:  # its file imports torch
    from automm.training.calibrate import Decision, Temperature

BINS = 10


def sureness(
    evidence: Evidence, temperature: Temperature | None, decision: Decision | None
) -> Markup:
    """Return the diagram of the most probable classes, and what was fitted on validation rows."""
    if not evidence.rows:
        return el("p", "There are no rows.", class_="quiet")
    sure = evidence.probabilities.max(axis=1).astype(np.float64)
    right = evidence.probabilities.argmax(axis=1) == evidence.truth
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    points = [
        (float(sure[here].mean()), float(right[here].mean()), int(here.sum()))
        for here in (bins == one for one in np.unique(bins))
    ]
    said = [
        "A dot is the rows whose most probable class is about as probable; below the line they are "
        "right less often than they say. Its size grows with their number."
    ]
    if temperature is not None:
        said.append(
            f"Temperature {temperature.value:.3g}, fitted on {temperature.rows:,} validation rows: "
            f"log-loss {temperature.log_loss_before:.4g} to {temperature.log_loss_after:.4g}, "
            f"calibration error {temperature.ece_before:.3g} to {temperature.ece_after:.3g}."
        )
    answer = evidence.answer
    if isinstance(answer, ClassesAnswer) and (decision is not None or answer.threshold != HALF):
        sentence = f"{answer.classes[1]} is answered from {answer.threshold:.3g} on"
        if decision is not None and decision.threshold == answer.threshold:  # not set since
            sentence += f": {decision.metric} {decision.before:.4g} to {decision.after:.4g} there"
        said.append(f"{sentence}.")
    return join(
        [
            charts.reliability(points, "how sure", "share that is right"),
            *(el("p", sentence, class_="note") for sentence in said),
        ]
    )
