"""The names on the dashboard are those that the real server gives; and its health by canary."""

import re
from urllib.request import urlopen

import pytest

from automm_serve.triton.control import Control
from automm_serve.triton.health import main
from tests.test_docker import METRICS

pytestmark = pytest.mark.triton

WITH_A_CACHE = {"nv_cache_num_hits_per_model"}


def test_the_server_gives_every_metric_of_the_dashboard(server, local):
    with urlopen(f"http://127.0.0.1:{server._metrics_port}/metrics", timeout=10) as answer:
        given = set(re.findall(r"^(nv_\w+)[{ ]", answer.read().decode(), re.M))
    assert given >= METRICS - WITH_A_CACHE


def test_health_is_an_answer_and_not_readiness(server, bundles, capsys):
    address = server.control.address
    assert main([str(bundles[0]), "--address", address]) == 0
    # READY all the same, but another bundle's answers.
    assert Control(address, "").is_ready("tiny")
    assert main([str(bundles[1]), "--address", address]) == 1
    assert "the golden answers differ" in capsys.readouterr().err


def test_no_server_and_no_bundle_are_one_line(bundles, tmp_path, capsys):
    assert main([str(bundles[0]), "--address", "127.0.0.1:9", "--timeout-s", "1"]) == 1
    assert main([str(tmp_path), "--address", "127.0.0.1:9"]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert "there is no bundle.json" in lines[1]
