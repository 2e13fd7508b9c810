"""The guards of the test suite themselves."""

import socket
from pathlib import Path

import pytest

from tests import needs

pytest_plugins = ["pytester"]


@pytest.mark.parametrize("host", ["192.0.2.1", "localhost", "example.org"])
def test_another_host_is_neither_reached_nor_looked_up(host):
    with pytest.raises(RuntimeError, match=r"127\.0\.0\.1 only"):
        socket.create_connection((host, 80), timeout=0.1)


def test_a_datagram_to_another_host_is_refused():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        pytest.raises(RuntimeError, match=r"192\.0\.2\.1"),
    ):
        sender.sendto(b"x", ("192.0.2.1", 9))


def test_this_machine_is_reached():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        assert client.getpeername() == server.getsockname()


def test_what_is_missing_skips_with_its_reason(monkeypatch):
    monkeypatch.setenv("AUTOMM_REQUIRE", "triton")
    with pytest.raises(pytest.skip.Exception, match="not found in"):
        needs.find_real_data("no_such_set")


def test_what_is_required_fails_where_it_is_missing(monkeypatch):
    monkeypatch.setenv("AUTOMM_REQUIRE", "triton, real")
    with pytest.raises(pytest.fail.Exception, match=r"no_such_set\.parquet not found"):
        needs.find_real_data("no_such_set")


def test_the_folder_of_real_data_can_be_named(monkeypatch, tmp_path):
    (tmp_path / "some.parquet").touch()
    monkeypatch.setenv("AUTOMM_EDGE_DATA", str(tmp_path))
    assert needs.find_real_data("some") == tmp_path / "some.parquet"


@pytest.mark.parametrize(("require", "outcome"), [("", "skipped"), ("triton", "failed")])
def test_any_skip_of_a_required_marker_is_a_failure(pytester, monkeypatch, require, outcome):
    monkeypatch.setenv("AUTOMM_REQUIRE", require)
    pytester.makeini("[pytest]\nmarkers = triton: a real server\n")
    pytester.makeconftest(Path(needs.ROOT, "tests", "conftest.py").read_text())
    pytester.makepyfile(
        "import pytest\n@pytest.mark.triton\ndef test_it():\n    pytest.importorskip('no_such')\n"
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(**{outcome: 1})
