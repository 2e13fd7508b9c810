"""Health of a server that runs: the golden row is asked, and its answer compared.

``python3 -m automm_serve.triton.health BUNDLE`` exits with 0 where the answer is right, with 1 and
one line where it is not. Readiness says less: a server whose Python died stays READY.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from automm_serve.errors import AutoMMError
from automm_serve.manifest import read_manifest
from automm_serve.triton.canary import ask_canary, read_canary
from automm_serve.triton.control import Control
from automm_serve.triton.repository import ServedBundle


def check_health(bundle: Path, address: str, timeout_s: float) -> None:
    """Ask the first golden row of a bundle, by the program ``predict``.

    Args:
        bundle: That the server has.
        address: ``HOST:PORT`` of its HTTP interface.
        timeout_s: For the answer.

    Raises:
        BundleError: It is no bundle.
        ServerError: There is no answer, or another one.
    """
    _, manifest = read_manifest(bundle)
    control = Control(address, "")
    target, precision = control.target_of(manifest.name)
    served = ServedBundle(bundle, manifest, target, precision)
    ask_canary(control, manifest.name, read_canary(served), timeout_s, most=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m automm_serve.triton.health")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--address", default="127.0.0.1:8000", help="of the HTTP interface")
    parser.add_argument("--timeout-s", type=float, default=5.0)
    asked = parser.parse_args(arguments)
    try:
        check_health(asked.bundle, asked.address, asked.timeout_s)
    except AutoMMError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
