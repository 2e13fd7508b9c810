"""Processors turn columns of a table into named arrays: everything that is done to a cell.

The union is closed, because it is the file format. To add a member: write its file here, put it
into ``AnyProcessor``, add its test; mypy holds it against ``Processor``.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from automm_serve.processors.image import ImageProcessor
from automm_serve.processors.tabular import TabularProcessor
from automm_serve.processors.text import TextProcessor
from automm_serve.tensors import CellError, Table, Tensors, TensorSpec

__all__ = ["AnyProcessor", "ImageProcessor", "Processor", "TabularProcessor", "TextProcessor"]

AnyProcessor: TypeAlias = ImageProcessor | TextProcessor | TabularProcessor


class Processor(Protocol):
    """A frozen struct that offers these. It is always fitted: fitting is how one is made.

    Attributes:
        name: Begins the names of its tensors, so that two of a kind live side by side.
        columns: The columns that it reads of a table that ``Schema.conform`` returned.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def columns(self) -> tuple[str, ...]: ...  # noqa: D102

    def specs(self) -> tuple[TensorSpec, ...]:
        """Name the tensors that ``transform`` fills."""
        ...

    def transform(self, table: Table) -> tuple[Tensors, list[CellError]]:
        """Read the cells of whole columns. A cell that cannot be read stands there as a gap."""
        ...

    def needs(self, tensors: Tensors) -> dict[str, NDArray[np.intp]]:
        """Return, for each of its own axes that varies, the size (rows,) that each row needs."""
        ...
