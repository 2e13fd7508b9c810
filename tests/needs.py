"""What a test may need and not find: it skips with the reason, or fails where that is required."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest

from automm_serve.errors import ServerError
from automm_serve.triton.locate import ServerParts, locate

ROOT = Path(__file__).resolve().parents[1]


def required() -> frozenset[str]:
    """Return the markers whose tests must run: ``AUTOMM_REQUIRE=triton,real``."""
    names = os.environ.get("AUTOMM_REQUIRE", "").split(",")
    return frozenset(name.strip() for name in names) - {""}


def require_or_skip(what: str, reason: str) -> NoReturn:
    """Skip the test, or fail it where ``AUTOMM_REQUIRE`` names what it needs."""
    if what in required():
        pytest.fail(f"AUTOMM_REQUIRE asks for {what!r}, but {reason}", pytrace=False)
    pytest.skip(reason)


def find_real_data(name: str) -> Path:
    """Return the path of a real data set, ``"emoji"``; skip the test where it is absent."""
    folder = Path(os.environ.get("AUTOMM_EDGE_DATA") or ROOT.parent / "shared" / "data")
    path = folder / f"{name}.parquet"
    if not path.is_file():
        require_or_skip("real", f"real data set {path.name} not found in {folder}")
    return path


def find_triton() -> ServerParts:
    """Return where the Triton server lies, as the product finds it; skip the test without one."""
    try:
        return locate()
    except ServerError as error:
        require_or_skip("triton", str(error))


def need_rtx() -> None:
    """Skip the test where TensorRT for RTX is not installed: it builds engines without a GPU."""
    if find_spec("tensorrt_rtx") is None:
        require_or_skip(
            "rtx", "tensorrt_rtx is not installed: pip install 'automm-edge[tensorrt-rtx]'"
        )
