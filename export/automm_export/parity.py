"""Torch against ONNX Runtime, graph by graph; and the control that proves it can fail.

A comparison that is blind passes too: so each input is changed, and an output must change with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from automm_export.cases import Cases
from automm_serve.agreement import RELATIVE, value_tolerance, vector_tolerance
from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.errors import ExportError
from automm_serve.manifest import InputControl, OutputParity
from automm_serve.pipeline import Pipeline, Step
from automm_serve.processors import ImageProcessor, TabularProcessor
from automm_serve.sessions import Session
from automm_serve.tensors import Tensors, TensorSpec


class Pair(NamedTuple):
    """A graph at two places."""

    torch: Session
    onnx: Session


def compare_graphs(
    pipeline: Pipeline, pairs: Mapping[str, Pair], cases: Cases
) -> tuple[OutputParity, ...]:
    """Compare every output of every graph on every case.

    Raises:
        ExportError: An output differs by more than its tolerance, or is not finite.
    """
    worst: dict[tuple[str, str], OutputParity] = {}
    for case in cases:
        for graph, name, difference, tolerance in _walk(pipeline, pairs, case.feed):
            before = worst.get((graph, name), OutputParity(graph, name, 0, 0.0, tolerance))
            found = OutputParity(graph, name, before.cases + 1, difference, tolerance)
            if not found.holds:
                raise ExportError(
                    where=f"graph {graph!r}, output {name!r}",
                    what=f"ONNX Runtime differs from torch by {difference:.2g}, where "
                    f"{tolerance:.2g} is allowed ({case.name})",
                    mend="Choose another encoder, or report this with the predictor's settings; "
                    "nothing was written",
                )
            if difference / tolerance < before.difference / before.tolerance:
                found = OutputParity(graph, name, found.cases, before.difference, before.tolerance)
            worst[graph, name] = found
    return tuple(worst.values())


def control_inputs(
    pipeline: Pipeline, pairs: Mapping[str, Pair], feed: Tensors, *, allow_unused: bool
) -> tuple[InputControl, ...]:
    """Change each input, slot by slot, and see the outputs change, before any rounding.

    Args:
        pipeline: Which says where tensors come from.
        pairs: The graphs.
        feed: Of ``Cases.control``.
        allow_unused: An input without effect is reported, and no error.

    Raises:
        ExportError: An input has no effect at one of the two places.
    """
    controls = []
    for step, known in _steps(pipeline, pairs, feed):
        pair = pairs[step.graph]
        given = _feed(step, pair.torch.inputs, known)
        before = [session.run(given) for session in pair]
        for spec in pair.torch.inputs:
            for slot in _slots(spec):
                changed = {**given, spec.name: _change(spec, given[spec.name], slot)}
                effect = min(
                    _effect(old, session.run(changed))
                    for old, session in zip(before, pair, strict=True)
                )
                name = spec.name if slot is None else f"{spec.name}[:, {slot}]"
                controls.append(InputControl(step.graph, name, effect))
    unused = [control for control in controls if control.effect == 0]
    if unused and not allow_unused:
        raise ExportError(
            where=f"graph {unused[0].graph!r}",
            what="no output changes with "
            + ", ".join(_in_words(pipeline, control.input) for control in unused),
            mend="Train again without what has no effect, or pass --allow-unused-inputs",
        )
    return tuple(controls)


def _walk(
    pipeline: Pipeline, pairs: Mapping[str, Pair], feed: Tensors
) -> Iterator[tuple[str, str, float, float]]:
    """Graph, output, and the difference and tolerance of the element that is worst."""
    readers = _readers(pipeline)
    for step, known in _steps(pipeline, pairs, feed):
        pair = pairs[step.graph]
        given = _feed(step, pair.torch.inputs, known)
        expected, found = pair.torch.run(given), pair.onnx.run(given)
        for spec in pair.torch.outputs:
            answer = readers.get(step.outputs.get(spec.name, spec.name))
            tolerance = _tolerance(answer, spec.name, expected[spec.name])
            yield (
                step.graph,
                spec.name,
                *_worst(expected[spec.name], found[spec.name], tolerance),
            )


def _steps(
    pipeline: Pipeline, pairs: Mapping[str, Pair], feed: Tensors
) -> Iterator[tuple[Step, Tensors]]:
    """Each use of a graph once, with the tensors that are known when it runs."""
    seen = []
    for program in pipeline.programs.values():
        known = dict(feed)
        for step in program.steps:
            if step not in seen:
                seen.append(step)
                yield step, known
            session = pairs[step.graph].torch
            made = session.run(_feed(step, session.inputs, known)) if len(program.steps) > 1 else {}
            known |= {step.outputs.get(name, name): tensor for name, tensor in made.items()}


def _feed(step: Step, inputs: tuple[TensorSpec, ...], known: Tensors) -> Tensors:
    return {spec.name: known[step.inputs.get(spec.name, spec.name)] for spec in inputs}


def _readers(pipeline: Pipeline) -> dict[str, AnyAnswer]:
    """Tensor -> the answer that reads it."""
    answers = (program.answer for program in pipeline.programs.values())
    return {name: answer for answer in answers for name in answer.reads}


def _tolerance(
    answer: AnyAnswer | None, name: str, expected: NDArray[np.floating]
) -> NDArray[np.float64]:
    if isinstance(answer, ValuesAnswer):
        return value_tolerance(answer.deviation, expected)
    scale = RELATIVE if isinstance(answer, ClassesAnswer) else vector_tolerance(expected)
    return np.full(expected.shape, scale)


def _worst(
    expected: NDArray[np.floating],
    found: NDArray[np.floating],
    tolerance: NDArray[np.float64],
) -> tuple[float, float]:
    if expected.shape != found.shape:
        return float("inf"), RELATIVE
    difference = np.abs(expected.astype(np.float64) - found)
    if not np.isfinite(difference).all():
        return float("inf"), RELATIVE
    at = np.unravel_index(np.argmax(difference / tolerance), difference.shape)
    return float(difference[at]), float(tolerance[at])


def _slots(spec: TensorSpec) -> list[int] | list[None]:
    """The slots of axis 1 that have a meaning of their own: a column, or a picture."""
    width = spec.shape[1] if len(spec.shape) > 1 else None
    return list(range(width)) if isinstance(width, int) else [None]


def _change(spec: TensorSpec, array: NDArray[np.generic], slot: int | None) -> NDArray[np.generic]:
    """Other values that the input could have, at each place of the slot."""
    changed = array.copy()
    part = changed[:, slot : slot + 1] if slot is not None else changed  # a view
    if spec.name.endswith("_mask"):
        part[:, 1 + part.shape[1] // 2 :] = 0  # the first token stays: no row without any
        part[:, 1 : 1 + part.shape[1] // 2] = 1
    elif spec.name.endswith("_valid"):
        part[...] = 1 - part
    elif part.dtype == np.uint8:
        part[...] = 255 - part
    elif np.issubdtype(part.dtype, np.integer):  # the next code of those that occur, around
        low, high = min(0, part.min()), max(1, part.max())
        part[...] = np.where(part == high, low, part + 1)
    else:
        # A gap becomes another number in each row: one alone could be what gaps are imputed with.
        fresh = np.arange(1, len(part) + 1).reshape(-1, *[1] * (part.ndim - 1))
        part[...] = np.where(np.isnan(part), fresh, -2 * part - 1)
    return changed


def _effect(before: Tensors, after: Tensors) -> float:
    return max(float(np.abs(before[name] - after[name]).max(initial=0.0)) for name in before)


def _in_words(pipeline: Pipeline, control: str) -> str:
    """The columns behind an input, because a user has never heard of tensors."""
    name, _, rest = control.partition("[:, ")
    slot = int(rest[:-1]) if rest else None
    for processor in pipeline.processors:
        if name not in {spec.name for spec in processor.specs()}:
            continue
        columns = processor.columns
        if isinstance(processor, TabularProcessor) and slot is not None:
            found = processor.numbers if name.endswith("_numbers") else processor.categories
            columns = (found[slot].name,)
        elif isinstance(processor, ImageProcessor) and slot is not None:
            owners = [c.name for c in processor.pictures for _ in range(c.images)]
            columns = (owners[slot],)
        return f"{control} (of {', '.join(map(repr, columns))})"
    return control
