"""The fresh bundle on the real server, for the certificate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from automm_serve.precisions import FP32
from automm_serve.predicts import Predicts
from automm_serve.triton.client import Client
from automm_serve.triton.launch import ServerOptions, TritonServer


@contextmanager
def serve_bundle(bundle: Path) -> Iterator[Predicts]:
    """Serve a bundle on loopback, on free ports, and give the client that asks it.

    Raises:
        ServerError: There is no server here, or it does not answer.
    """
    options = ServerOptions(target="cpu", precision=FP32)
    with TritonServer(bundle, options) as server, Client(server.url("grpc")) as client:
        yield client
