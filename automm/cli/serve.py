"""``automm serve``: a bundle behind the real Triton server, until it is told to stop."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from automm_serve.triton.launch import TritonServer


@click.command(name="serve")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--target", default="cpu", show_default=True, help="Where the graphs run.")
@click.option(
    "--precision",
    default="",
    help="In which the graphs run, such as int8.  [default: the bundle's]",
)
@click.option("--name", default="", help="Refuse the bundle if its model has another name.")
@click.option("--http-port", default=8000, show_default=True, help="0 takes a free one.")
@click.option("--grpc-port", default=8001, show_default=True, help="0 takes a free one.")
@click.option("--metrics-port", default=8002, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--server", help="A tritonserver, or an environment with nvidia-pytriton.")
@click.option("--log-file", type=click.Path(path_type=Path), help="Keep the server's log here.")
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one JSON object.")
def command(
    bundle: Path,
    target: str,
    precision: str,
    name: str,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    host: str,
    server: str | None,
    log_file: Path | None,
    as_json: bool,
) -> None:
    r"""Serve BUNDLE with Triton.

    The golden rows are asked before the addresses are printed, and one of them every few seconds
    afterwards; a model that fails is started again. SIGHUP takes the bundle that lies under the
    same path now, without a failed answer; Ctrl-C and SIGTERM stop in order.

    \b
    Example:
        automm serve bundle --http-port 9000
    """
    from automm_serve.triton.launch import ServerOptions, TritonServer

    # Before the server is there, so that no signal in between leaves it behind.
    signals: SimpleQueue[int] = SimpleQueue()
    options = ServerOptions(
        target=target,
        precision=precision,
        name=name,
        server=server,
        host=host,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        log_file=log_file,
    )
    click.echo(f"starting Triton with {bundle}", err=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with TritonServer(bundle, options) as running:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, frame: signals.put(number))
        _print_addresses(running, as_json)
        _run_until_stopped(running, bundle, signals)
        click.echo("stopping", err=True)


def _interrupt(number: int, frame: object) -> None:
    """While the server starts, SIGTERM and SIGHUP are as Ctrl-C: the launcher cleans up."""
    raise KeyboardInterrupt


def _run_until_stopped(running: TritonServer, bundle: Path, signals: SimpleQueue[int]) -> None:
    from automm_serve.errors import AutoMMError
    from automm_serve.triton.watch import watch

    stop = threading.Event()
    dog = threading.Thread(target=watch, args=(running, stop, _say), name="watch-dog")
    dog.start()
    try:
        while signals.get() == signal.SIGHUP:
            try:
                running.swap(bundle)
                _say(f"{bundle} was read anew")
            except AutoMMError as error:
                _say(f"the bundle was not taken: {error}")
    finally:
        stop.set()
        dog.join()


def _print_addresses(running: TritonServer, as_json: bool) -> None:
    urls = {"grpc": running.url("grpc"), "http": running.url("http")}
    if as_json:
        import json

        served = {"target": running.bundle.target, "precision": running.bundle.precision}
        click.echo(json.dumps({**urls, **served}))
        return
    for url in urls.values():
        click.echo(url)
    click.echo(f"{running.bundle.name} is ready; ask it with\n", err=True)
    click.echo(f"    automm predict {urls['grpc']} rows.csv\n", err=True)


def _say(line: str) -> None:
    click.echo(line, err=True)
