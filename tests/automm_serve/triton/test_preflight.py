from pathlib import Path
from typing import Any

import msgspec
import pytest

from automm_serve.errors import ConfigError, ServerError
from automm_serve.triton.locate import PythonFacts, ServerParts
from automm_serve.triton.preflight import (
    check_backend,
    check_host,
    check_python,
    is_loopback,
    take_port,
)

PARTS = ServerParts(
    "the managed environment",
    Path("/bin/true"),
    Path("python"),
    PythonFacts("3.11", "1.26.4", "", "", True, "", ()),
    (Path("/backends/python"),),
    Path("stub"),
    (24, 10),
)


def with_facts(**changes: Any) -> ServerParts:
    facts = msgspec.structs.replace(PARTS.facts, **changes)
    return msgspec.structs.replace(PARTS, facts=facts)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"numpy": "2.1.0"}, "numpy 2.1.0 is there, its stub needs numpy below 2"),
        ({"absent": ("PIL", "msgspec")}, "lacks PIL, msgspec"),
        ({"shared": False}, "without the shared libpython"),
        ({"automm_serve": "/site-packages/automm_serve"}, "another automm_serve is installed"),
    ],
)
def test_a_python_that_would_misbehave_is_refused_with_the_command(changes, said):
    with pytest.raises(ServerError, match=said) as caught:
        check_python(with_facts(**changes), "cpu_ort")
    assert caught.value.command == "automm triton install"


def test_a_fitting_python_passes():
    check_python(PARTS, "cpu_ort")


def test_a_target_without_its_backend_is_refused():
    check_backend(PARTS, "cpu")
    with pytest.raises(ServerError, match="needs Triton's backend 'tensorrt', and the managed"):
        check_backend(PARTS, "gpu_trt")


@pytest.mark.parametrize("release", [(24, 10), (26, 6), None])
def test_old_and_unknown_releases_stay_on_loopback(release):
    parts = msgspec.structs.replace(PARTS, release=release)
    check_host(parts, "127.0.0.1")
    with pytest.raises(ConfigError, match="published holes"):
        check_host(parts, "0.0.0.0")


@pytest.mark.parametrize("release", [(26, 7), (27, 1)])
def test_a_new_release_may_be_shown(release):
    check_host(msgspec.structs.replace(PARTS, release=release), "0.0.0.0")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_what_only_this_machine_reaches(host, loopback):
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_refused_with_its_option(port):
    with pytest.raises(ConfigError, match=f"--grpc-port {port}: there is no such port"):
        take_port("127.0.0.1", port, "--grpc-port")


def test_a_port_that_is_asked_for_twice_is_refused():
    with pytest.raises(ConfigError, match="another of the three options has this port"):
        take_port("127.0.0.1", 8000, "--grpc-port", [8000])
