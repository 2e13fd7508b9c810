"""The number formats that a graph exists in, and what each of them cost when it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from msgspec import Struct

from automm_serve.errors import unknown_name

Precision: TypeAlias = Literal["fp32", "fp16", "bf16", "int8"]

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8")
"""Names that users know."""

FP32 = "fp32"
"""What every bundle has, and what everything else is compared with."""

INT8_ENGINE = "int8_qdq"
"""Key, among the files of a graph, of the int8 form that engine builders take: symmetric scales and
no quantised bias. ONNX Runtime's own int8 on a CPU is another file, under ``int8``."""

CPU_FILES: Mapping[str, str] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}
"""Precision -> key of the file that a CPU runs. ONNX Runtime has no kernels of bf16 there, and
those of fp16 are no faster than fp32."""

GPU_FILES: Mapping[str, str] = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8": INT8_ENGINE}
"""The same of a GPU, and of what engines are built from."""


class PrecisionFigures(Struct, frozen=True, forbid_unknown_fields=True):
    """What a precision costs, measured before it was written.

    Attributes:
        towers: Tower (an encoder, or ``fusion``) -> the precision it got; a tower that lost too
            much, or would overflow, is back at ``fp32``.
        reasons: Tower -> why it stayed at ``fp32``.
        metric: That was compared.
        rows: On which; calibration did not see them.
        fp32: The metric of fp32.
        value: The metric of this precision.
        drop: How much worse: points (1 is one per cent) for a share, per cent of fp32's for a
            loss or an error. Negative where it is better.
        drop_low: Lower end of the 95 % bootstrap interval of ``drop``.
        drop_high: Upper end.
        difference: Largest difference of an answer from fp32's on these rows, in the unit of
            ``agreement.RELATIVE``.
        judged_on: Where this precision was run.
        notes: What a user must know, such as that answers vary with the batch.
    """

    towers: dict[str, str]
    reasons: dict[str, str]
    metric: str
    rows: int
    fp32: float
    value: float
    drop: float
    drop_low: float
    drop_high: float
    difference: float
    judged_on: str
    notes: tuple[str, ...] = ()


def find_precision(name: str) -> Precision:
    """Return a precision by its name.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in PRECISIONS:
        raise unknown_name("precision", name, PRECISIONS)
    return name
