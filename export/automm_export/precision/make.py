"""Each precision that is asked for: measured tower by tower, and written where it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from automm_export.exportable import Exportable, ExportOptions
from automm_export.precision.forms import Bf16, CpuInt8, EngineInt8, Form, Fp16, Source
from automm_export.precision.judge import Judge
from automm_export.precision.towers import Tower
from automm_export.precision.yardstick import Loss
from automm_serve.errors import ExportError
from automm_serve.manifest import GraphFiles
from automm_serve.precisions import FP32, INT8_ENGINE, PrecisionFigures, find_precision
from automm_serve.tensors import Table

FORMS: Mapping[str, type[Fp16 | Bf16 | CpuInt8 | EngineInt8]] = {
    "fp16": Fp16,
    "bf16": Bf16,
    "int8": CpuInt8,
    INT8_ENGINE: EngineInt8,
}
"""Key of a file -> what makes it."""


def make_precisions(
    folder: Path, model: Exportable, graphs: Mapping[str, GraphFiles], options: ExportOptions
) -> tuple[dict[str, GraphFiles], dict[str, PrecisionFigures]]:
    """Write the files of each precision beside those of fp32.

    A precision is judged as a whole. Where it loses more than is allowed, each tower is measured
    alone, and the one that loses most goes back to fp32, until what is left holds.

    Args:
        folder: Of the bundle that is being written.
        model: As ``prepare`` returned it.
        graphs: With their files in fp32, whose nodes are named by ``rewrite.name_nodes``.
        options: Which precisions, and what they may lose. With ``trt``, int8 is also made in the
            form that engine builders take.

    Returns:
        The graphs with all files, and key of a file -> its figures.

    Raises:
        ExportError: A precision loses too much, or no tower can have it.
    """
    source = Source(folder, model, graphs)
    judge = Judge(model, lambda: source.sessions(FP32))
    found = dict(graphs)
    figures: dict[str, PrecisionFigures] = {}
    for key in _keys(options):
        form: Form = FORMS[key](source)
        try:
            towers, figures[key] = settle(form, source.towers, judge, options.max_drop)
        except ExportError as error:
            if key != INT8_ENGINE:
                raise
            # Who asked for int8 has it on the CPU; engines are another matter, and it is said.
            note = f"engines have no int8: {error.what}"
            notes = (*figures["int8"].notes, note)
            figures["int8"] = msgspec.structs.replace(figures["int8"], notes=notes)
            continue
        for name, graph in found.items():
            path = graph.files[FP32].removesuffix(".onnx") + f".{key}.onnx"
            form.write(name, source.of(name, towers), folder / path)
            found[name] = msgspec.structs.replace(graph, files={**graph.files, key: path})
    return found, figures


def settle(
    form: Form, towers: Sequence[Tower], judge: Judge, max_drop: float
) -> tuple[list[Tower], PrecisionFigures]:
    """Return the towers that keep a form, and what the whole then costs.

    Args:
        form: To measure.
        towers: All there are.
        judge: With the rows.
        max_drop: Most that the whole may lose.

    Raises:
        ExportError: It loses too much whatever retreats, or no tower can have it.
    """
    yardstick = judge.yardstick
    reasons = form.refused()
    chosen = [tower for tower in towers if tower.name not in reasons]
    if not chosen:
        raise _refuse(form, "no tower of the model can have it: " + _listed(reasons))
    answers, loss = _measure(form, chosen, judge)
    if not loss.drop <= max_drop and len(chosen) > 1:
        alone = {tower: _measure(form, [tower], judge)[1] for tower in chosen}
        while not loss.drop <= max_drop and len(chosen) > 1:
            whole = loss.drop
            worst = max(chosen, key=lambda tower: _sortable(alone[tower].drop))
            chosen.remove(worst)
            reasons[worst.name] = (
                f"alone it loses {alone[worst].drop:.2f} {yardstick.unit}: {yardstick.metric} "
                f"{alone[worst].value:.4g}, fp32 {yardstick.fp32:.4g}; with the others {whole:.2f}"
            )
            answers, loss = _measure(form, chosen, judge)
    if not loss.drop <= max_drop:
        raise _refuse(
            form,
            f"it loses {loss.drop:.2f} {yardstick.unit} where {max_drop:g} may be lost: "
            f"{yardstick.metric} {loss.value:.4g}, fp32 {yardstick.fp32:.4g}, on {yardstick.rows} "
            f"rows, with {', '.join(tower.name for tower in chosen)} in it"
            + (f" (in fp32: {_listed(reasons)})" if reasons else ""),
        )
    low, high = yardstick.interval(answers)
    with form.opened(chosen) as sessions:
        difference = judge.difference(sessions)
    exact = form.exact(chosen)
    if exact is not None:
        difference = max(difference, judge.sample(exact))
    if not np.isfinite(difference):
        raise _refuse(form, "an answer is no finite number in it")
    kept = {tower.name for tower in chosen}
    return chosen, PrecisionFigures(
        towers={t.name: _precision(form) if t.name in kept else FP32 for t in towers},
        reasons=reasons,
        metric=yardstick.metric,
        rows=yardstick.rows,
        fp32=yardstick.fp32,
        value=loss.value,
        drop=loss.drop,
        drop_low=low,
        drop_high=high,
        difference=difference,
        judged_on=form.judged_on,
        notes=(*yardstick.notes, *form.notes(chosen)),
    )


def _keys(options: ExportOptions) -> list[str]:
    asked = dict.fromkeys(map(find_precision, options.precisions))
    keys: list[str] = [name for name in asked if name != FP32]
    return [*keys, INT8_ENGINE] if "int8" in keys and options.trt else keys


def _measure(form: Form, towers: Sequence[Tower], judge: Judge) -> tuple[Table, Loss]:
    with form.opened(towers) as sessions:
        answers = judge.answers(sessions)
    return answers, judge.yardstick.compare(answers)


def _sortable(drop: float) -> float:
    return drop if drop == drop else float("inf")  # NaN: the metric is lost altogether


def _precision(form: Form) -> str:
    return "int8" if form.key == INT8_ENGINE else form.key


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{tower}: {why}" for tower, why in reasons.items())


def _refuse(form: Form, what: str) -> ExportError:
    name = "int8 for engines" if form.key == INT8_ENGINE else form.key
    return ExportError(
        where=f"precision {name}",
        what=what,
        mend="Leave this precision out, or allow more with --max-drop; nothing was written",
    )
