"""The features of a row, as a vector."""

from __future__ import annotations

from msgspec import Struct

from automm_serve.schema import Column
from automm_serve.tensors import CellError, Table, Tensors


class EmbeddingAnswer(Struct, frozen=True, tag="embedding", forbid_unknown_fields=True):
    """One vector a row.

    Attributes:
        width: Length of the vectors.
    """

    width: int

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the tensors that ``decode`` reads."""
        return ("features",)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The vector."""
        return (Column("features", "vector", width=self.width),)

    def decode(self, tensors: Tensors) -> dict[str, list[object]]:
        """Return the rows of float32 (rows, width)."""
        return {"features": list(tensors["features"])}

    def encode(self, table: Table, tensors: Tensors) -> tuple[Tensors, list[CellError]]:
        """Return nothing: features have no label."""
        return {}, []

    def revive(self, columns: Table) -> dict[str, list[object]]:
        """Return the cells as they are."""
        return {name: list(cells) for name, cells in columns.items()}
