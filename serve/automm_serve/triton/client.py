"""A predictor behind a URL: `Client("grpc://127.0.0.1:8001/NAME").predict(table)`."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, Protocol, Self

from automm_serve.answers import AnyAnswer
from automm_serve.optional import require
from automm_serve.predicts import Predictions, Predicts
from automm_serve.tensors import Table
from automm_serve.triton import BUNDLE, PROGRAM
from automm_serve.triton.exchange import (
    Address,
    Chunk,
    Exchange,
    attempts,
    parse_url,
    read_facts,
)
from automm_serve.triton.failures import OtherBundleError, changing, translated

Parameters = dict[str, str]


class Client(Predicts):
    """Asks a model on Triton; it has the calls of every predictor.

    The URL is enough: columns and classes come from the model's configuration. Paths of pictures
    are opened here, and spelling is checked before anything is sent. All rows of one call are
    answered by one bundle, even while another one takes its place on the server.

    A client belongs to one thread.

    Args:
        url: ``grpc://HOST:PORT/NAME`` or ``http://HOST:PORT/NAME``.
        timeout_s: That one request may take.
        in_flight: Requests that a long table has on the way at a time.

    Attributes:
        facts: What the model's configuration says of the bundle.
        target: For which the bundle is served.

    Raises:
        ConfigError: It is not such a URL.
        ServerError: There is no server, or no such model.
        MissingDependencyError: The package tritonclient is not installed.
    """

    def __init__(self, url: str, *, timeout_s: float = 30.0, in_flight: int = 4) -> None:
        self._address = parse_url(url)
        self._timeout_s = timeout_s
        self._in_flight = max(1, in_flight)
        self._transport: _Transport = _TRANSPORTS[self._address.scheme](self._address, timeout_s)
        try:
            self._read_facts()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def answers(self) -> Mapping[str, AnyAnswer]:
        """Program name -> what its answers mean."""
        return self.facts.answers

    def run(self, table: Table, program: str = "predict") -> Predictions:
        """Answer every row.

        Raises:
            SchemaError: The table has not the columns of the model, or there is no such program.
            ServerError: The server does not answer.
        """
        for pause_s in attempts(self._timeout_s):
            time.sleep(pause_s)
            try:
                return self._ask_all(Exchange(self.facts, table, program), program)
            except OtherBundleError:
                self._read_facts()
        raise changing(self._address)

    def close(self) -> None:
        """Close the connection."""
        if "_threads" in self.__dict__:
            self._threads.shutdown()
        self._transport.close()

    def _ask_all(self, exchange: Exchange, program: str) -> Predictions:
        parameters = {PROGRAM: program, BUNDLE: self.facts.bundle}
        chunks = exchange.chunks()
        if exchange.requests <= 1:  # a thread would cost more than it gains
            for chunk in chunks:
                exchange.take(chunk, self._ask_once(chunk, parameters))
            return exchange.predictions()
        waiting: deque[tuple[Chunk, Future[Any]]] = deque()
        try:
            for chunk in chunks:
                waiting.append((chunk, self._threads.submit(self._ask_once, chunk, parameters)))
                if len(waiting) == self._in_flight:
                    sent, answer = waiting.popleft()
                    exchange.take(sent, answer.result())
            for sent, answer in waiting:
                exchange.take(sent, answer.result())
        finally:
            for _, answer in waiting:
                answer.cancel()
        return exchange.predictions()

    def _ask_once(self, chunk: Chunk, parameters: Parameters) -> Any:
        with translated(self._address, self._timeout_s):
            return self._transport.ask(chunk.tensors, parameters)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._in_flight, thread_name_prefix="automm-client")

    def _read_facts(self) -> None:
        with translated(self._address, self._timeout_s):
            config = self._transport.read_config()
        self.facts, self.target = read_facts(self._address, config)


def make_inputs(library: Any, tensors: Mapping[str, Any]) -> list[Any]:
    """Return the inputs of a request; each protocol of tritonclient has a class of its own."""
    inputs = []
    for name, tensor in tensors.items():
        given = library.InferInput(name, list(tensor.shape), "BYTES")
        given.set_data_from_numpy(tensor)
        inputs.append(given)
    return inputs


class _Transport(Protocol):
    """One connection, that several threads may use."""

    def read_config(self) -> dict[str, Any]: ...

    def ask(self, tensors: Mapping[str, Any], parameters: Parameters) -> Any: ...

    def close(self) -> None: ...


class _Grpc:
    def __init__(self, address: Address, timeout_s: float) -> None:
        self._name = address.name
        self._timeout_s = timeout_s
        self._library: Any = require("tritonclient.grpc", purpose=f"a client of {address}")
        self._live = self._library.InferenceServerClient(
            address.server, channel_args=address.channel_args
        )

    def read_config(self) -> dict[str, Any]:
        found: dict[str, Any] = self._live.get_model_config(
            self._name, as_json=True, client_timeout=self._timeout_s
        )
        return found

    def ask(self, tensors: Mapping[str, Any], parameters: Parameters) -> Any:
        return self._live.infer(
            self._name,
            make_inputs(self._library, tensors),
            client_timeout=self._timeout_s,
            parameters=parameters,
        )

    def close(self) -> None:
        self._live.close()


class _Http:
    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._library: Any = require("tritonclient.http", purpose=f"a client of {address}")
        # Its sockets belong to the gevent hub of the thread that made them.
        self._own = threading.local()
        self._made: list[Any] = []

    def read_config(self) -> dict[str, Any]:
        found: dict[str, Any] = self._live.get_model_config(self._address.name)
        return found

    def ask(self, tensors: Mapping[str, Any], parameters: Parameters) -> Any:
        inputs = make_inputs(self._library, tensors)
        return self._live.infer(self._address.name, inputs, parameters=parameters)

    def close(self) -> None:
        for live in self._made:
            live.close()

    @property
    def _live(self) -> Any:
        if not hasattr(self._own, "live"):
            self._own.live = self._library.InferenceServerClient(
                self._address.server,
                connection_timeout=self._timeout_s,
                network_timeout=self._timeout_s,
            )
            self._made.append(self._own.live)
        return self._own.live


_TRANSPORTS: Mapping[str, Callable[[Address, float], _Transport]] = {"grpc": _Grpc, "http": _Http}
