"""What is looked at before a server is started: faults that it would tell badly, or not at all."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Collection, Sequence
from pathlib import Path

from automm_serve.errors import BundleError, ConfigError, ServerError
from automm_serve.gpu import Gpu, find_gpus
from automm_serve.triton import ENGINES, GPU
from automm_serve.triton.locate import INSTALL, ServerParts, probe
from automm_serve.triton.repository import OUR_RUNTIME, ServedBundle

SAFE_RELEASE = (26, 7)
"""First release with every published hole closed (bulletins 5828, 5865, 5875)."""

LEAST_SHM_BYTES = 32 * 2**20
"""Docker gives 64 MB; below this a batch of pictures fails in the middle of serving."""

BACKENDS = {
    "cpu": "python",
    "cpu_ort": "onnxruntime",
    "gpu_ort": "onnxruntime",
    "gpu_trt": "tensorrt",
    "gpu_rtx": "python",
}
"""Target -> the backend of the server that runs its graphs."""


NEEDED = {"cpu": ("onnxruntime",), "gpu_rtx": ("tensorrt_rtx", "cuda")}
"""Target -> what its sessions import in the server's Python; those of the others need nothing."""


def check_machine(parts: ServerParts, bundle: ServedBundle, host: str) -> None:
    """Look whether this machine and this server can serve a bundle at an address.

    Raises:
        ServerError: Something needed is not there.
        BundleError: Its engines are for other GPUs.
        ConfigError: The address is open to others, and the server is too old for that.
    """
    check_gpu(bundle, find_gpus() if bundle.target in GPU else ())
    check_python(parts, bundle.target)
    check_backend(parts, bundle.target)
    check_host(parts, host)
    check_shm()


def check_gpu(bundle: ServedBundle, gpus: Sequence[Gpu]) -> None:
    """Look whether there is a GPU where the target needs one, and an engine for it.

    Args:
        bundle: With its target.
        gpus: Of this machine.

    Raises:
        ServerError: There is none.
        BundleError: Every engine of a graph is for other GPUs.
    """
    if bundle.target not in GPU:
        return
    if not gpus:
        raise ServerError(
            where=f"target {bundle.target!r}",
            what="it needs an NVIDIA GPU, and none is seen here",
            mend="Serve the target 'cpu'. Where there is a GPU, see whether its driver runs "
            "(nvidia-smi); a container needs --gpus all",
        )
    for graph in bundle.manifest.graphs if bundle.target in ENGINES else ():
        built = {name for engine in bundle.engines(graph) for name in engine.capabilities}
        for gpu in gpus:
            if gpu.capability not in built:
                raise BundleError(
                    where=f"bundle {bundle.path}",
                    what=f"the engines of its graph {graph!r} are for compute capability "
                    f"{', '.join(sorted(built))}, and {gpu.name} has {gpu.capability}",
                    mend="Build them on this machine",
                    command=f"automm compile {bundle.path}",
                )


def check_python(parts: ServerParts, target: str) -> None:
    """Look whether the server's Python can run our model.

    Raises:
        ServerError: It cannot; the message says why.
    """
    needed = NEEDED.get(target, ())
    absent = (*parts.facts.absent, *(probe(parts.python, needed).absent if needed else ()))
    if absent:
        raise _unfit(parts, f"the server's Python lacks {', '.join(absent)}", target)
    if parts.stub is not None and int(parts.facts.numpy.split(".")[0]) >= 2:
        # It would be READY, answer empty tensors, and die of the first text.
        raise _unfit(parts, f"numpy {parts.facts.numpy} is there, its stub needs numpy below 2")
    if not parts.facts.shared and parts.stub is not None:
        raise _unfit(parts, f"{parts.python} is built without the shared libpython it embeds")
    other = parts.facts.automm_serve
    if other and Path(other).resolve() != OUR_RUNTIME:
        # It stands earlier in the stub's path, so the server would run it in place of ours.
        raise _unfit(parts, f"another automm_serve is installed there, in {other}")
    if not os.access(parts.binary, os.X_OK):
        raise _unfit(parts, f"{parts.binary} cannot be executed")


def check_backend(parts: ServerParts, target: str) -> None:
    """Look whether the server has the backend of a target.

    Raises:
        ServerError: It has not.
    """
    needed = BACKENDS.get(target)
    known = [backend.name for backend in parts.backends]
    if needed is not None and needed not in known:
        raise ServerError(
            where=f"target {target!r}",
            what=f"it needs Triton's backend {needed!r}, and {parts.origin} has "
            f"{', '.join(known)} alone",
            mend="Use a container of Triton, or serve the target 'cpu', which needs Python only",
        )


def check_host(parts: ServerParts, host: str) -> None:
    """Refuse to show an old server to other machines.

    Raises:
        ConfigError: The host is not loopback, and the release is below 26.07 or unknown.
    """
    if is_loopback(host) or (parts.release is not None and parts.release >= SAFE_RELEASE):
        return
    release = "unknown" if parts.release is None else "{}.{:02}".format(*parts.release)
    raise ConfigError(
        where=f"--host {host}",
        what=f"the release of the server is {release}, and servers below 26.07 have published "
        "holes that any caller can use",
        mend="Leave --host out and put a proxy before it, or use a newer container",
    )


def check_shm() -> None:
    """Look for room in the shared memory, through which the server talks to its Python.

    Raises:
        ServerError: There is too little, or none.
    """
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        found = None
    free = found.f_bavail * found.f_frsize if found else 0
    if free < LEAST_SHM_BYTES:
        raise ServerError(
            where="/dev/shm",
            what=f"{free / 2**20:.0f} MB of shared memory are free, "
            f"{LEAST_SHM_BYTES / 2**20:.0f} MB are needed",
            mend="Free some, or start the container with more: --shm-size=1g",
        )


def take_port(host: str, wanted: int, option: str, taken: Collection[int] = ()) -> int:
    """Return a port that is free: the wanted one, or any where that is 0.

    Args:
        host: Address to listen at.
        wanted: Port.
        option: That says so, for the message.
        taken: Ports that the server has for something else.

    Raises:
        ServerError: It is in use, or may not be used.
        ConfigError: There is no such port, or it was asked for twice.
    """
    if not 0 <= wanted <= 65535:
        raise ConfigError(
            where=f"{option} {wanted}",
            what="there is no such port",
            mend="Pass a number up to 65535; 0 takes a free one",
        )
    if wanted in taken:  # the server would end with the whole help text
        raise ConfigError(
            where=f"{option} {wanted}",
            what="another of the three options has this port",
            mend="Give each of them a port of its own; 0 takes a free one",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:
        # As the server does: a port in TIME_WAIT after a restart is free.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, wanted))
        except OSError as error:
            raise ServerError(
                where=f"port {wanted} of {host}",
                what=f"it cannot be used: {error.strerror}",
                mend=f"Stop what uses it, or choose another with {option} (0 takes a free one)",
            ) from error
        port = int(trial.getsockname()[1])
    return port if port not in taken else take_port(host, 0, option, taken)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _unfit(parts: ServerParts, what: str, target: str = "") -> ServerError:
    mend, command = "Make the managed environment, which has what is needed", INSTALL
    if target == "gpu_rtx":  # that environment has nothing of a GPU
        mend = "Install it there"
        command = f"{parts.python} -m pip install 'automm-edge[tensorrt-rtx]'"
    return ServerError(where=parts.origin, what=what, mend=mend, command=command)
