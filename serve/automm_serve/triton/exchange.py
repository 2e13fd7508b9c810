"""What the clients of Triton share: the URL, the facts, the requests of a table, its merged answer.

Nothing here waits for a server, so that `Client` and `AsyncClient` differ in the waiting alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import numpy as np
from msgspec import Struct

from automm_serve.errors import ConfigError, ServerError
from automm_serve.pipeline import find_program
from automm_serve.predicts import Predictions
from automm_serve.schema import Column
from automm_serve.tensors import CellError, Table, Tensors, count_rows, take_rows
from automm_serve.triton import FACTS, ROW_ERROR, TARGET
from automm_serve.triton.preflight import is_loopback
from automm_serve.wire import Facts, to_wire

ATTEMPTS = 5
"""Least number of times that a table is asked where the bundle is swapped in between."""

_LONGEST_PAUSE_S = 0.2


class Address(Struct, frozen=True):
    """The parts of a model's URL."""

    scheme: str
    server: str
    name: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.server}/{self.name}"

    @property
    def channel_args(self) -> list[tuple[str, int]] | None:
        """Options of gRPC for a server on this machine: a proxy of the environment has no part."""
        if not is_loopback(urlsplit(f"//{self.server}").hostname or ""):
            return None
        limits = ("grpc.max_send_message_length", "grpc.max_receive_message_length")
        return [("grpc.enable_http_proxy", 0), *((name, -1) for name in limits)]


class Chunk(NamedTuple):
    """Rows of one request.

    Attributes:
        start: Position of the first in the table.
        rows: How many.
        tensors: What is sent.
        unsent: Cells that could not be, rows counted from the first of the chunk.
    """

    start: int
    rows: int
    tensors: Tensors
    unsent: list[CellError]


class Exchange:
    """One table on its way: cut into requests, and its answers put together.

    Args:
        facts: Of the bundle that is asked.
        table: Of any length.
        program: One of the facts'.

    Raises:
        SchemaError: The table has not the columns of the model, or there is no such program.
    """

    def __init__(self, facts: Facts, table: Table, program: str) -> None:
        self._facts = facts
        self._answer = find_program(facts.answers, program)
        self._full, self._warnings = facts.schema.conform(table)
        self._rows = count_rows(self._full)
        self._errors: list[CellError] = []
        self._columns: dict[str, list[object]] = {
            column.name: [None] * self._rows for column in self._answer.columns
        }

    @property
    def requests(self) -> int:
        """How many there are."""
        return -(-self._rows // self._facts.max_batch)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the requests; the pictures of one are opened when it is asked for."""
        most = self._facts.max_batch
        for start in range(0, self._rows, most):
            rows = range(start, min(start + most, self._rows))
            tensors, unsent = to_wire(self._facts.schema, take_rows(self._full, rows))
            yield Chunk(start, len(rows), tensors, unsent)

    def take(self, chunk: Chunk, result: Any) -> None:
        """Put the answer to a request where it belongs; answers may come in any order.

        Args:
            chunk: The request.
            result: An ``InferResult`` of tritonclient.

        Raises:
            ServerError: An output is missing.
        """
        failed = {error.row: error for error in reversed(chunk.unsent)}
        for row, text in enumerate(_output(result, ROW_ERROR)[:, 0]):
            if text and row not in failed:
                failed[row] = msgspec.convert(
                    {"row": row, **msgspec.json.decode(text)}, type=CellError
                )
        raw = {c.name: _cells(c, result, failed) for c in self._answer.columns}
        for name, cells in self._answer.revive(raw).items():
            self._columns[name][chunk.start : chunk.start + chunk.rows] = cells
        for error in failed.values():
            self._errors.append(CellError(chunk.start + error.row, error.column, error.what))

    def predictions(self) -> Predictions:
        """Return the answer to the whole table."""
        errors = sorted(self._errors, key=lambda error: error.row)
        return Predictions(self._columns, errors, self._warnings)


def parse_url(url: str) -> Address:
    """Return the parts of ``grpc://HOST:PORT/NAME`` or ``http://HOST:PORT/NAME``.

    Raises:
        ConfigError: It is not such a URL.
    """
    mend = "Write grpc://HOST:PORT/NAME or http://HOST:PORT/NAME"
    try:
        parts = urlsplit(url)
        _ = parts.port  # whose reading checks it
    except ValueError as error:
        raise ConfigError(where=f"URL {url!r}", what=str(error), mend=mend) from error
    name = parts.path.strip("/")
    if parts.scheme not in ("grpc", "http") or not parts.netloc or not name or "/" in name:
        what = "it is not the address of a model"
        raise ConfigError(where=f"URL {url!r}", what=what, mend=mend)
    return Address(parts.scheme, parts.netloc, name)


def attempts(timeout_s: float) -> Iterator[float]:
    """Yield the seconds to wait before each attempt to ask a table.

    While a bundle takes another's place the server may name the one and answer by the other, so
    attempts in quick succession would all be spent in that moment.

    Args:
        timeout_s: New attempts are made for as long, and `ATTEMPTS` in any case.
    """
    deadline = time.monotonic() + timeout_s
    pause_s, made = 0.0, 0
    while made < ATTEMPTS or time.monotonic() < deadline:
        yield pause_s
        pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s or 0.01)
        made += 1


def read_facts(address: Address, config: Mapping[str, Any]) -> tuple[Facts, str]:
    """Return the facts and the target that a model's configuration holds.

    Args:
        address: Of the model, for the message.
        config: As JSON, of either protocol: gRPC wraps it once more.

    Raises:
        ServerError: It is not a model of ours, or of a newer release.
    """
    parameters = config.get("config", config).get("parameters", {})
    try:
        facts = msgspec.json.decode(parameters[FACTS]["string_value"], type=Facts)
        return facts, str(parameters[TARGET]["string_value"])
    except KeyError as error:
        raise ServerError(
            where=str(address),
            what=f"the model's configuration has no parameter {error.args[0]!r}, so it is not "
            "one that automm exported",
            mend="Check the name after the last '/'",
        ) from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ServerError(
            where=str(address),
            what=f"the facts of the model are not understood: {error}",
            mend="Install the release that exported the bundle, or a newer one",
            command="pip install --upgrade automm-edge",
        ) from error


def _output(result: Any, name: str) -> Any:
    tensor = result.as_numpy(name)
    if tensor is None:
        raise ServerError(
            where="answer of the server",
            what=f"the output {name!r} is missing",
            mend="Install the release of automm-edge that serves the model",
        )
    return tensor


def _cells(column: Column, result: Any, failed: Mapping[int, CellError]) -> list[object]:
    tensor = _output(result, column.name)
    cells: list[object]
    if column.kind == "vector":
        cells = list(np.array(tensor, np.float32))  # a copy: the buffer belongs to the message
    elif column.kind == "number":
        cells = tensor[:, 0].tolist()
    elif column.kind == "json":
        cells = [msgspec.json.decode(cell) if cell else None for cell in tensor[:, 0]]
    else:
        cells = [cell.decode() for cell in tensor[:, 0]]
    return [None if row in failed else cell for row, cell in enumerate(cells)]
