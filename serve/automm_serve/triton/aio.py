"""The client for asyncio, `await AsyncClient(url).predict(table)`: only the waiting differs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self

from automm_serve.answers import AnyAnswer
from automm_serve.optional import require
from automm_serve.predicts import Predictions, Predicts
from automm_serve.table import read_table
from automm_serve.tensors import Table
from automm_serve.triton import BUNDLE, PROGRAM
from automm_serve.triton.client import make_inputs
from automm_serve.triton.exchange import (
    Chunk,
    Exchange,
    attempts,
    parse_url,
    read_facts,
)
from automm_serve.triton.failures import OtherBundleError, changing, translated
from automm_serve.wire import Facts


class AsyncClient:
    """Asks a model on Triton from a coroutine. The calls are those of ``Client``, awaited.

    ``async with AsyncClient(url) as client`` connects and closes; the connection belongs to the
    event loop in which it was made.

    Args:
        url: ``grpc://HOST:PORT/NAME`` or ``http://HOST:PORT/NAME``.
        timeout_s: That one request may take.
        in_flight: Requests that a long table has on the way at a time.

    Attributes:
        facts: What the model's configuration says of the bundle; read at the first call.
        target: For which the bundle is served.

    Raises:
        ConfigError: It is not such a URL.
    """

    facts: Facts
    target: str

    def __init__(self, url: str, *, timeout_s: float = 30.0, in_flight: int = 4) -> None:
        self._address = parse_url(url)
        self._timeout_s = timeout_s
        self._in_flight = max(1, in_flight)
        self._live: Any = None
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def run(self, table: Table, program: str = "predict") -> Predictions:
        """Answer every row; see ``Client.run``."""
        return (await self._run(table, program))[1]

    async def predict(self, data: object, **options: Any) -> Any:
        """Return one class or one number a row; see ``Predicts.predict``."""
        return (await self._answered(data, "predict", options)).predict(data, **options)

    async def predict_proba(self, data: object, **options: Any) -> Any:
        """Return the probability of each class; see ``Predicts.predict_proba``."""
        return (await self._answered(data, "predict", options)).predict_proba(data, **options)

    async def extract_embedding(self, data: object, **options: Any) -> Any:
        """Return the features of each row; see ``Predicts.extract_embedding``."""
        return (await self._answered(data, "embed", options)).extract_embedding(data, **options)

    async def evaluate(self, data: object, metrics: Any = None, **options: Any) -> Any:
        """Compare the answers with the label column; see ``Predicts.evaluate``."""
        answered = await self._answered(data, "predict", options)
        return answered.evaluate(data, metrics, **options)

    async def close(self) -> None:
        """Close the connection."""
        if self._live is not None:
            await self._live.close()
            self._live = None

    async def _answered(self, data: object, program: str, options: Mapping[str, Any]) -> _Answered:
        table = read_table(data, options.get("image_root"))
        facts, found = await self._run(table, program)
        return _Answered(facts.answers, found)

    async def _run(self, table: Table, program: str) -> tuple[Facts, Predictions]:
        """The answer, and the facts of the bundle that gave it: other calls read them anew."""
        await self._connect()
        for pause_s in attempts(self._timeout_s):
            await asyncio.sleep(pause_s)
            facts = self.facts
            try:
                return facts, await self._ask_all(facts, Exchange(facts, table, program), program)
            except OtherBundleError:
                await self._read_facts()
        raise changing(self._address)

    async def _ask_all(self, facts: Facts, exchange: Exchange, program: str) -> Predictions:
        parameters = {PROGRAM: program, BUNDLE: facts.bundle}
        waiting: set[asyncio.Task[None]] = set()
        try:
            for chunk in exchange.chunks():
                waiting.add(asyncio.create_task(self._ask_once(exchange, chunk, parameters)))
                if len(waiting) == self._in_flight:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
            await asyncio.gather(*waiting)
        finally:
            for task in waiting:
                task.cancel()
        return exchange.predictions()

    async def _ask_once(self, exchange: Exchange, chunk: Chunk, parameters: dict[str, str]) -> None:
        inputs = make_inputs(self._library, chunk.tensors)
        with translated(self._address, self._timeout_s):
            async with asyncio.timeout(self._timeout_s):
                result = await self._live.infer(self._address.name, inputs, parameters=parameters)
        exchange.take(chunk, result)

    async def _connect(self) -> None:
        """Connect, unless that is done; calls that come meanwhile wait for the facts."""
        async with self._connecting:
            if self._live is None:
                await self._connect_once()

    async def _connect_once(self) -> None:
        address = self._address
        self._library: Any = require(
            f"tritonclient.{address.scheme}.aio", purpose=f"a client of {address}"
        )
        options = {"channel_args": address.channel_args} if address.scheme == "grpc" else {}
        self._live = self._library.InferenceServerClient(address.server, **options)
        try:
            await self._read_facts()
        except BaseException:
            await self.close()
            raise

    async def _read_facts(self) -> None:
        options = {"as_json": True} if self._address.scheme == "grpc" else {}
        with translated(self._address, self._timeout_s):
            async with asyncio.timeout(self._timeout_s):
                config = await self._live.get_model_config(self._address.name, **options)
        self.facts, self.target = read_facts(self._address, config)


class _Answered(Predicts):
    """A predictor that has its answer already: what is made of it is written in ``Predicts``."""

    def __init__(self, answers: Mapping[str, AnyAnswer], found: Predictions) -> None:
        self._answers = answers
        self._found = found

    @property
    def answers(self) -> Mapping[str, AnyAnswer]:
        return self._answers

    def run(self, table: Table, program: str = "predict") -> Predictions:
        return self._found
