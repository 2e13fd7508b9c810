"""A shorter limit of texts, for a whole bundle: no session may take what its engines refuse."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import msgspec

from automm_export.graph import Graph
from automm_serve.errors import ConfigError
from automm_serve.processors import AnyProcessor, TextProcessor
from automm_serve.tensors import Axis, TensorSpec

if TYPE_CHECKING:
    from automm_export.exportable import Exportable


def shorten_texts(model: Exportable, most: int) -> Exportable:
    """Return the model with texts cut at so many tokens; a lower limit stays.

    The processors cut there, and the axes of every graph end there: torch, ONNX Runtime and engines
    see the same texts. What it costs is not in ``metrics``, which were measured without the cut.

    Args:
        model: That is exported; it is left as it is.
        most: Tokens of a text, special ones among them.

    Raises:
        ConfigError: The model reads no text, has none so long, or so few leave no room for words.
    """
    texts = [p for p in model.pipeline.processors if isinstance(p, TextProcessor)]
    where = "--max-length"
    if not texts:
        what = "the model reads no text, so that nothing has this length"
        raise ConfigError(where=where, what=what, mend="Leave it out")
    longest = max(text.limit for text in texts)
    if most > longest:
        what = f"the texts of this model have {longest} tokens at most, not {most}"
        raise ConfigError(where=where, what=what, mend="Leave it out")
    try:
        processors = tuple(_cut(processor, most) for processor in model.pipeline.processors)
    except ValueError as error:
        mend = f"Pass a length up to {longest}"
        raise ConfigError(where=where, what=str(error), mend=mend) from error
    axes = {
        axis.name: axis
        for processor in processors
        for spec in processor.specs()
        for axis in spec.shape
        if isinstance(axis, Axis)
    }
    return model._replace(
        pipeline=msgspec.structs.replace(model.pipeline, processors=processors),
        graphs={name: _with_axes(graph, axes) for name, graph in model.graphs.items()},
    )


def _cut(processor: AnyProcessor, most: int) -> AnyProcessor:
    if not isinstance(processor, TextProcessor):
        return processor
    return msgspec.structs.replace(processor, limit=min(most, processor.limit))


def _with_axes(graph: Graph, axes: dict[str, Axis]) -> Graph:
    """The same modules under another signature: a shallow copy shares the weights."""
    other = copy(graph)
    other.inputs = tuple(_renewed(spec, axes) for spec in graph.inputs)
    other.outputs = tuple(_renewed(spec, axes) for spec in graph.outputs)
    return other


def _renewed(spec: TensorSpec, axes: dict[str, Axis]) -> TensorSpec:
    shape = tuple(axes.get(a.name, a) if isinstance(a, Axis) else a for a in spec.shape)
    return msgspec.structs.replace(spec, shape=shape)
