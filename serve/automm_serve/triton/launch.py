"""Serves a bundle with the real Triton server: starts it, keeps it answering, swaps, stops."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Self

from msgspec import Struct

from automm_serve.errors import AutoMMError, ServerError
from automm_serve.triton import GPU
from automm_serve.triton.canary import Canary, ask_canary, check_target, read_canary
from automm_serve.triton.control import ADMIN_HEADER, Control
from automm_serve.triton.locate import locate
from automm_serve.triton.preflight import check_machine, take_port
from automm_serve.triton.process import ServerProcess
from automm_serve.triton.repository import (
    ServedBundle,
    hold,
    link_backends,
    link_graphs,
    link_public,
    open_served,
    release,
)

_GUARDED = "model-repository,shared-memory,trace,logging"
"""Interfaces that ask for the secret: whoever reaches the port may ask rows, and change nothing."""


class ServerOptions(Struct, frozen=True, kw_only=True):
    """How to start a server.

    Attributes:
        target: One that the bundle was exported for.
        precision: In which the graphs run; what the target runs by itself where empty.
        name: Of the model, where the caller insists on one.
        server: Path of a tritonserver or an environment; found by itself where None.
        host: Address of all three ports.
        http_port: 0 takes a free one, as for the two others.
        grpc_port: As above.
        metrics_port: As above.
        log_file: Where the server writes; a temporary file where None.
        ready_timeout_s: For starting and for loading.
        canary_timeout_s: For one golden request.
        exit_timeout_s: That requests under way have when the server stops.
    """

    target: str = "cpu"
    precision: str = ""
    name: str = ""
    server: str | None = None
    host: str = "127.0.0.1"
    http_port: int = 0
    grpc_port: int = 0
    metrics_port: int = 0
    log_file: Path | None = None
    ready_timeout_s: float = 120.0
    canary_timeout_s: float = 30.0
    exit_timeout_s: int = 10


class TritonServer:
    """A bundle that is served, from construction to ``stop``; a context manager.

    The constructor looks the machine through, starts the server, and returns when the golden
    rows are answered as they should be.

    Args:
        bundle: Path of the bundle.
        options: How to start.

    Attributes:
        bundle: What is served now.
        parts: Where the server was found.

    Raises:
        BundleError: It is no bundle, or a file is missing or not ours.
        ConfigError: An option does not suit the bundle or the server.
        ServerError: Something needed is not there, or the server does not start or does not
            answer rightly. Nothing that was started is left.
    """

    def __init__(self, bundle: str | Path, options: ServerOptions | None = None) -> None:
        self.options = options or ServerOptions()
        self.bundle = self._open(bundle, self.options.name)
        self._config = self.bundle.config  # the server is told once, at its start
        self._canary = read_canary(self.bundle)
        self.parts = locate(self.options.server)
        check_machine(self.parts, self.bundle, self.options.host)
        host = self.options.host
        self._http_port = take_port(host, self.options.http_port, "--http-port")
        taken = [self._http_port]
        self._grpc_port = take_port(host, self.options.grpc_port, "--grpc-port", taken)
        taken.append(self._grpc_port)
        # The server would start without its metrics, and say so in its log alone.
        self._metrics_port = take_port(host, self.options.metrics_port, "--metrics-port", taken)
        self._secret = secrets.token_hex(16)
        self.control = Control(self._reach(self._http_port), self._secret)
        self._lock = RLock()  # a swap and a repair must not meet
        self._scratch = Path(tempfile.mkdtemp(prefix="automm_triton_"))
        self._repository = self._scratch / "repository"
        self.process = ServerProcess(
            self.parts,
            self.options.log_file or self._scratch / "server.log",
            self.options.exit_timeout_s,
            # TF32 keeps ten bits of a product; where fewer than fp32 are meant, the graph says so.
            {"NVIDIA_TF32_OVERRIDE": "0"} if self.options.target in GPU else {},
        )
        try:
            self._repository.mkdir()
            self.bundle = hold(self.bundle, self._scratch, self._config)
            link_backends(self._scratch / "backends", self.parts)
            link_graphs(self._repository, self.bundle)
            self._start()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def url(self, scheme: str = "grpc") -> str:
        """Return what a client is given, ``grpc://HOST:PORT/NAME`` or ``http://HOST:PORT/NAME``."""
        port = {"grpc": self._grpc_port, "http": self._http_port}[scheme]
        return f"{scheme}://{self._reach(port)}/{self.bundle.name}"

    def stop(self) -> None:
        """Let requests under way be answered, end the server, and remove all that it left."""
        with self._lock:
            self.process.end()
            shutil.rmtree(self._scratch, ignore_errors=True)

    def check(self) -> None:
        """Ask every golden row by every program, and compare the target.

        Raises:
            ServerError: The server does not answer rightly.
        """
        check_target(self.control, self.bundle)
        self._ask(self._canary)

    def find_fault(self) -> str:
        """Ask one golden row; return what is wrong, or the empty text."""
        with self._lock:
            fault = self.process.fault()
            if not fault:
                try:
                    self._ask(self._canary, most=1)
                except ServerError as error:
                    fault = f"{error.where}: {error.what}"
            return fault

    def repair(self) -> None:
        """Load the model anew, which replaces a dead stub; start the server anew if that fails.

        Raises:
            ServerError: It does not answer afterwards either.
        """
        with self._lock:
            if self.process.pid is not None:
                try:
                    link_public(self._repository, self.bundle)
                    self.control.load(self.bundle.name, self.options.ready_timeout_s)
                    self.check()
                    return
                except ServerError:
                    pass  # the server as a whole is at fault
            self.process.end()
            self._start()

    def swap(self, bundle: str | Path) -> None:
        """Serve another bundle of the same name, without a failed or a mixed answer.

        Old graphs are unloaded only when the old model has answered its last request, because it
        still calls them. Where the new bundle fails, the old one goes on.

        Raises:
            ServerError: The new bundle cannot be held, does not load, or does not answer its golden
            rows.
            BundleError: It is no bundle.
            ConfigError: It has another name, or was not exported for this target.
        """
        fresh = self._open(bundle, self.bundle.name)
        canary = read_canary(fresh)
        with self._lock:
            fresh = hold(fresh, self._scratch, self._config)
            old, old_canary = self.bundle, self._canary
            stubs = self.process.stubs(old.name)
            try:
                self._take(fresh, canary, old)
            except Exception as error:
                failed = self.process.stubs(old.name) - stubs
                self._take_back(old, old_canary, fresh, error)
                self._forget(fresh, failed)
                if isinstance(error, AutoMMError):
                    raise
                raise ServerError(
                    where=f"bundle {fresh.path}",
                    what=f"it cannot be taken: {_reason(error)}",
                    mend="The one before goes on; mend the cause, and swap again",
                ) from error
            self._forget(old, stubs)

    def _open(self, bundle: str | Path, name: str) -> ServedBundle:
        return open_served(Path(bundle), self.options.target, name, self.options.precision)

    def _take(self, new: ServedBundle, canary: Canary, loaded: ServedBundle) -> None:
        """Load a bundle beside the one that is loaded, then let it answer."""
        link_graphs(self._repository, new)
        for graph in sorted(set(new.graph_models) - set(loaded.graph_models)):
            self.control.load(graph, self.options.ready_timeout_s)
        link_public(self._repository, new)
        self.control.load(new.name, self.options.ready_timeout_s)
        self.bundle, self._canary = new, canary
        self.check()

    def _take_back(
        self, old: ServedBundle, canary: Canary, failed: ServedBundle, error: Exception
    ) -> None:
        """Let the old bundle answer again; say so where that fails too."""
        try:
            self._take(old, canary, failed)
        except Exception as second:
            raise ServerError(
                where=f"bundle {failed.path}",
                what=f"it fails ({_reason(error)}), and the one before cannot be loaded "
                f"again ({_reason(second)})",
                mend="Lay a sound bundle there and swap again, or start the server anew",
            ) from error

    def _forget(self, gone: ServedBundle, stubs: set[int]) -> None:
        """Unload the graphs of a bundle, once the stubs that call them have ended."""
        kept = set(self.bundle.graphs)
        idle = sorted(set(gone.graph_models) - kept)
        deadline = time.monotonic() + self.options.canary_timeout_s
        while idle and stubs & self.process.stubs(gone.name) and time.monotonic() < deadline:
            time.sleep(0.02)
        for graph in idle:
            with suppress(ServerError):  # it only costs memory, and must not hide why we are here
                self.control.unload(graph)
        for graph in set(gone.graphs) - kept:
            with suppress(OSError):
                (self._repository / graph).unlink(missing_ok=True)
        release(gone)

    def _ask(self, canary: Canary, most: int | None = None) -> None:
        timeout_s = self.options.canary_timeout_s
        ask_canary(self.control, self.bundle.name, canary, timeout_s, most)

    def _start(self) -> None:
        link_public(self._repository, self.bundle)
        self.process.start(self._flags())
        name = self.bundle.name
        self.process.wait_until(lambda: self.control.is_ready(name), self.options.ready_timeout_s)
        self.check()

    def _flags(self) -> list[str]:
        options = self.options
        return [
            f"--model-repository={self._repository}",
            f"--model-config-name={self._config}",
            "--model-control-mode=explicit",
            # A model does not bring along the graphs that it calls.
            *(f"--load-model={model}" for model in (*self.bundle.graph_models, self.bundle.name)),
            f"--backend-directory={self._scratch / 'backends'}",
            # The default of all three is every address of the machine.
            f"--http-address={options.host}",
            f"--http-port={self._http_port}",
            f"--grpc-address={options.host}",
            f"--grpc-port={self._grpc_port}",
            f"--metrics-address={options.host}",
            f"--metrics-port={self._metrics_port}",
            f"--http-restricted-api={_GUARDED}:{ADMIN_HEADER}={self._secret}",
            f"--grpc-restricted-protocol={_GUARDED}:{ADMIN_HEADER}={self._secret}",
            "--disable-auto-complete-config",
            "--allow-gpu-metrics=false",
            "--log-format=ISO8601",
        ]

    def _reach(self, port: int) -> str:
        every = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        host = every.get(self.options.host, self.options.host)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: Exception) -> str:
    return (error.what if isinstance(error, AutoMMError) else str(error)).rstrip(".")
