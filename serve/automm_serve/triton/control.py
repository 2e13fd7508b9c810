"""Triton's HTTP interface, as the launcher needs it: readiness, models, one request of rows.

Only the standard library, because a machine that serves needs no client library.
"""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from automm_serve.errors import ServerError
from automm_serve.precisions import FP32
from automm_serve.triton import PRECISION, TARGET

ADMIN_HEADER = "x-automm-admin"
"""Header without which the server refuses to load and unload models."""


class Control:
    """Talks to one server.

    Args:
        address: ``HOST:PORT`` of its HTTP interface.
        secret: Value of ``ADMIN_HEADER``.
    """

    def __init__(self, address: str, secret: str) -> None:
        self.address = address
        self._secret = secret
        # A proxy of the environment must not get between this process and its own server.
        self._opener = build_opener(ProxyHandler({}))

    def ask(self, path: str, body: object = None, timeout_s: float = 30.0) -> Any:
        """Send one request, POST where there is a body, and return the JSON of the answer.

        Raises:
            ServerError: The server refuses it, or there is no answer in time.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {ADMIN_HEADER: self._secret, "Content-Type": "application/json"}
        request = Request(f"http://{self.address}/v2/{path}", data, headers)
        try:
            with self._opener.open(request, timeout=timeout_s) as answer:
                return json.loads(answer.read() or "{}")
        except HTTPError as error:
            raise _failure(path, _reason(error)) from error
        except (OSError, HTTPException, ValueError) as error:
            raise _failure(path, str(error) or type(error).__name__) from error

    def is_ready(self, name: str) -> bool:
        """Tell whether a model is loaded; an empty repository would be ready as a whole."""
        try:
            self.ask(f"models/{name}/ready", timeout_s=2.0)
        except ServerError:
            return False
        return True

    def target_of(self, name: str) -> tuple[str, str]:
        """Return the target and the precision whose configuration the model was loaded with."""
        parameters = self.ask(f"models/{name}/config").get("parameters", {})
        target, precision = (
            str(parameters.get(key, {}).get("string_value", "")) for key in (TARGET, PRECISION)
        )
        return target, precision or FP32  # bundles of format 1 do not say it

    def load(self, name: str, timeout_s: float) -> None:
        """Load a model, or take its files anew; what it replaces goes on until this is up."""
        self.ask(f"repository/models/{name}/load", {}, timeout_s)

    def unload(self, name: str) -> None:
        """Unload a model once its requests are answered."""
        self.ask(f"repository/models/{name}/unload", {})

    def infer(
        self, name: str, rows: list[bytes], program: str, timeout_s: float
    ) -> dict[str, list[Any]]:
        """Ask rows by plain JSON; return the flat values of each output."""
        body = {
            "parameters": {"program": program},
            "inputs": [
                {
                    "name": "row",
                    "shape": [len(rows), 1],
                    "datatype": "BYTES",
                    "data": [row.decode() for row in rows],
                }
            ],
        }
        path = f"models/{name}/infer"
        answer = self.ask(path, body, timeout_s)
        try:
            return {output["name"]: output["data"] for output in answer["outputs"]}
        except (KeyError, TypeError) as error:
            raise _failure(path, f"the answer has no outputs: {str(answer)[:200]}") from error


def _reason(error: HTTPError) -> str:
    text = error.read().decode(errors="replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text or f"HTTP {error.code}"


def _failure(path: str, what: str) -> ServerError:
    return ServerError(
        where=f"Triton, {path}", what=what, mend="Look into the server's log for the cause"
    )
