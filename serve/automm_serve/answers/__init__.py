"""Answers turn tensors of a graph into columns, and label cells into training targets.

The union is closed, because it is the file format. To add a member: write its file here, put it
into ``AnyAnswer``, add its test; mypy holds it against ``Answer``.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

from automm_serve.answers.classes import ClassesAnswer
from automm_serve.answers.embedding import EmbeddingAnswer
from automm_serve.answers.values import ValuesAnswer
from automm_serve.schema import Column
from automm_serve.tensors import CellError, Table, Tensors

__all__ = ["Answer", "AnyAnswer", "ClassesAnswer", "EmbeddingAnswer", "ValuesAnswer"]

AnyAnswer: TypeAlias = ClassesAnswer | ValuesAnswer | EmbeddingAnswer


class Answer(Protocol):
    """A frozen struct that offers these.

    Attributes:
        reads: Names of the tensors that ``decode`` reads.
        columns: The columns that ``decode`` gives.
    """

    @property
    def reads(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def columns(self) -> tuple[Column, ...]: ...  # noqa: D102

    def decode(self, tensors: Tensors) -> dict[str, list[object]]:
        """Return one cell a row for each of ``columns``."""
        ...

    def encode(self, table: Table, tensors: Tensors) -> tuple[Tensors, list[CellError]]:
        """Return training targets of the label's cells, and the cells that are none.

        Args:
            table: The training rows, the label among their columns.
            tensors: What the processors made of the same rows.
        """
        ...

    def revive(self, columns: Table) -> dict[str, list[object]]:
        """Return the cells that ``decode`` gave, from what came over the wire as text."""
        ...
