import time
from typing import Any

import numpy as np
import pytest

from automm_serve.answers import ClassesAnswer
from automm_serve.errors import ConfigError, SchemaError, ServerError
from automm_serve.schema import Column, Schema
from automm_serve.triton.exchange import (
    ATTEMPTS,
    Exchange,
    attempts,
    parse_url,
    read_facts,
)
from automm_serve.triton.failures import OtherBundleError, translated
from automm_serve.wire import Facts

ADDRESS = parse_url("grpc://127.0.0.1:8001/tiny")
FACTS = Facts(
    "tiny",
    "binary",
    Schema((Column("title", "text", required=True),)),
    {"predict": ClassesAnswer("label", (3, 7))},
    "abc",
    2,
)


class RefusedError(Exception):
    """As tritonclient raises it."""

    def __init__(self, code: str, text: str) -> None:
        self.code, self.text = code, text

    def status(self) -> str:
        return self.code

    def message(self) -> str:
        return self.text


class Result:
    """As tritonclient returns it."""

    def __init__(self, **tensors: Any) -> None:
        self.tensors = tensors

    def as_numpy(self, name: str) -> Any:
        return self.tensors.get(name)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (
            RefusedError("StatusCode.UNAVAILABLE", "failed to connect"),
            ServerError,
            "no server answers",
        ),
        (
            RefusedError("StatusCode.UNAVAILABLE", "Exceeds maximum queue size"),
            ServerError,
            "the server is overloaded",
        ),
        (RefusedError("503", "Request timeout expired"), ServerError, "the server is overloaded"),
        (RefusedError("StatusCode.DEADLINE_EXCEEDED", "x"), ServerError, "no answer within 3 s"),
        (TimeoutError(), ServerError, "no answer within 3 s"),
        (ConnectionRefusedError(111, "Connection refused"), ServerError, "no server answers"),
        (RefusedError("400", "Request for unknown model: 'x'"), ServerError, "no model 'tiny'"),
        (RefusedError("StatusCode.INVALID_ARGUMENT", "column 'a' is absent."), SchemaError, "'a'"),
        (
            RefusedError("StatusCode.INTERNAL", "Stub is not healthy."),
            ServerError,
            "Stub",
        ),
        (RefusedError("400", "another bundle is served now: d, not c"), OtherBundleError, None),
    ],
)
def test_each_failure_is_an_error_of_ours_that_says_what_to_do(error, kind, said):
    with pytest.raises(kind, match=said), translated(ADDRESS, 3.0):
        raise error


def test_our_own_errors_pass_as_they_are():
    mine = SchemaError(where="a", what="b", mend="C")
    with pytest.raises(SchemaError) as caught, translated(ADDRESS, 3.0):
        raise mine
    assert caught.value is mine


def test_a_model_that_is_not_ours_is_said():
    with pytest.raises(ServerError, match="is not one that automm exported"):
        read_facts(ADDRESS, {"config": {"parameters": {}}})


def test_facts_of_a_later_release_are_said():
    parameters = {"automm": {"string_value": '{"name": 3}'}, "automm_target": {"string_value": ""}}
    with pytest.raises(ServerError, match="Install the release"):
        read_facts(ADDRESS, {"parameters": parameters})


def test_a_table_is_cut_and_its_answers_are_put_together_in_any_order():
    exchange = Exchange(FACTS, {"title": ["a", "b", "\udcff", "d", "e"]}, "predict")
    chunks = list(exchange.chunks())
    assert exchange.requests == len(chunks) == 3
    for chunk in reversed(chunks):
        rows = range(chunk.start, chunk.start + chunk.rows)
        exchange.take(
            chunk,
            Result(
                label=np.array([[b"7" if row % 2 else b"3"] for row in rows], object),
                probabilities=np.array([[row, -row] for row in rows], np.float32),
                row_error=np.array(
                    [[b'{"column":"title","what":"odd"}' if row == 3 else b""] for row in rows],
                    object,
                ),
            ),
        )
    found = exchange.predictions()
    assert found.columns["label"] == [3, 7, None, None, 3]
    assert [e.row for e in found.errors] == [2, 3]
    assert "UTF-8" in found.errors[0].what
    np.testing.assert_array_equal(found.columns["probabilities"][4], [4, -4])


def test_an_output_that_is_missing_is_said():
    exchange = Exchange(FACTS, {"title": ["a"]}, "predict")
    (chunk,) = exchange.chunks()
    with pytest.raises(ServerError, match="the output 'row_error' is missing"):
        exchange.take(chunk, Result())


def test_a_table_is_asked_for_as_long_as_the_limit_and_some_times_in_any_case():
    assert len(list(attempts(0.0))) == ATTEMPTS
    pauses = []
    for pause_s in attempts(0.5):
        time.sleep(pause_s)
        pauses.append(pause_s)
    assert pauses[0] == 0.0
    assert max(pauses) <= 0.2
    assert len(pauses) >= ATTEMPTS


def test_a_proxy_of_the_environment_has_no_part_in_this_machines_own_server():
    assert ("grpc.enable_http_proxy", 0) in (ADDRESS.channel_args or [])
    assert parse_url("grpc://example.org:8001/tiny").channel_args is None


@pytest.mark.parametrize(
    "url", ["grpc://[::1/tiny", "grpc://host:port/tiny", "http://host:99999/tiny"]
)
def test_a_host_or_port_that_is_none_is_refused_as_a_url(url):
    with pytest.raises(ConfigError, match="grpc://HOST:PORT/NAME"):
        parse_url(url)


def test_facts_that_are_not_utf_8_are_said():
    parameters = {"automm": {"string_value": b'{"name": "\xff"}'}, "automm_target": {}}
    with pytest.raises(ServerError, match="the facts of the model are not understood"):
        read_facts(ADDRESS, {"parameters": parameters})
