"""The messages of a builder -> one failure, and a failure -> one error for a user."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from automm_export.engines.job import NAMES, Cause, Failed, Job, Node
from automm_serve.errors import ExportError

_MEMORY = re.compile(
    r"out ?of ?memory|bad_alloc|allocation failed|MEM_ALLOC_FAILED|cudaErrorMemoryAllocation"
    r"|cannot allocate memory|FAILED_ALLOCATION",
    re.IGNORECASE,
)
_WORKSPACE = re.compile(r"workspace (limit|size)|insufficient workspace", re.IGNORECASE)
_CANCELLED = re.compile(r"BuildCancel", re.IGNORECASE)
_NO_DRIVER = re.compile(r"cudaError ?(35|100)|CUDA driver version is insufficient", re.IGNORECASE)
_PLACE = re.compile(r"\s*\(?\bIn \w+ at /\S*")  # source lines of the builder, which is closed
_MOST_WORDS = 600
_MOST_NODES = 3


def read_failure(messages: Sequence[str], layers: Iterable[str]) -> Failed:
    """Return what a build failed of.

    Args:
        messages: Errors of the builder, in the order in which they came.
        layers: Names of all layers; those that the messages name are what they are about.
    """
    # A machine without a driver says so at every failure; it is the reason only where it is alone.
    telling = [m for m in messages if not _NO_DRIVER.search(m)] or list(messages)
    text = " ".join(_PLACE.sub("", " ".join(telling)).split())
    cause: Cause = "other"
    if any(map(_CANCELLED.search, messages)):
        cause = "cancelled"
    elif any(map(_WORKSPACE.search, messages)):  # before memory: it is a limit that was asked for
        cause = "workspace"
    elif any(map(_MEMORY.search, messages)):
        cause = "memory"
    named = [name for name in layers if "/" in name and _holds(text, name)]
    if named and cause == "other":
        cause = "node"
    nodes = tuple(Node(name, operator_of(name)) for name in named)
    return Failed(cause, text[:_MOST_WORDS] or "the builder gave no reason", nodes)


def operator_of(name: str) -> str:
    """Return the operator that a node's name ends in: ``model.head/MatMul_7`` is a ``MatMul``."""
    return re.sub(r"(_\d+)+$", "", name.rpartition("/")[2])


def to_error(job: Job, failed: Failed) -> ExportError:
    """Return the error: which graph failed, of what, where in the model, and what helps."""
    builder = NAMES[job.builder]
    where = f"{builder}, graph {job.graph.rsplit('/', 1)[-1]} of {_model(job)}"
    text = failed.what.rstrip(".")
    match failed.cause:
        case "operator":
            return ExportError(
                where=where,
                what=f"it has no operator {_describe(failed.nodes)}",
                mend="Choose another encoder for these columns, or export without --trt and serve "
                "the graph with ONNX Runtime; nothing was written",
            )
        case "node":
            return ExportError(
                where=where,
                what=f"it cannot build {_describe(failed.nodes)}: {text}",
                mend=_mend_node(text),
            )
        case "memory":
            return ExportError(
                where=where,
                what=f"the builder ran out of memory: {text}",
                mend="Pass a smaller --max-batch or --workspace-mb, or free memory; nothing was "
                "written",
            )
        case "workspace":
            allowed = f", which is {job.workspace_mb} MB" if job.workspace_mb else ""
            about = f" for {_describe(failed.nodes)}" if failed.nodes else ""
            return ExportError(
                where=where,
                what=f"it finds no way{about} within the scratch memory{allowed}",
                mend="Pass a larger --workspace-mb, or leave it out; nothing was written",
            )
        case "disk":
            return ExportError(
                where=where,
                what=f"the engine cannot be written: {text}",
                mend="Free some space there, or write elsewhere; nothing was written",
            )
        case _:
            return ExportError(
                where=where,
                what=text,
                mend="Report this with the settings of the predictor; nothing was written",
            )


def _mend_node(text: str) -> str:
    if "FP32 GEMM" in text:
        return "Build fp16 for cards of compute capability 7.5, or leave these out"
    return (
        "Choose another encoder or precision, or report this with the settings of the predictor; "
        "nothing was written"
    )


def _describe(nodes: Sequence[Node]) -> str:
    """``Unique of module model.encoders.hf_text (node …) and 2 more``."""
    words = []
    for node in nodes[:_MOST_NODES]:
        module = f" of module {node.module}" if node.module else ""
        words.append(f"{node.operator}{module} (node {node.name})")
    more = len(nodes) - _MOST_NODES
    return ", ".join(words) + (f" and {more} more" if more > 0 else "")


def _model(job: Job) -> str:
    parts = job.graph.split("/")
    return parts[-3] if len(parts) > 2 else job.graph


def _holds(text: str, name: str) -> bool:
    """The name stands there, and is not the beginning of a longer one."""
    return re.search(re.escape(name) + r"(?![\w.])", text) is not None
