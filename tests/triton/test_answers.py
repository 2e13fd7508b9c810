"""One server that is only asked: through our clients, without them, rightly and wrongly."""

import asyncio
import base64
import io
import json
import os
import signal
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from PIL import Image
from tritonclient.utils import InferenceServerException

from automm_serve.agreement import compare_answers
from automm_serve.errors import ConfigError, SchemaError, ServerError
from automm_serve.predictor import LocalPredictor
from automm_serve.predicts import Predictions, RowWarning
from automm_serve.table import read_table
from automm_serve.tensors import take_rows
from automm_serve.triton.aio import AsyncClient
from automm_serve.triton.client import Client
from automm_serve.triton.launch import TritonServer
from automm_serve.wire import encode_row
from tests.automm_export.tiny import rows
from tests.picture_forms import combinations, make_table, write_pictures

pytestmark = pytest.mark.triton
SCHEMES = pytest.mark.parametrize("scheme", ["grpc", "http"])


@pytest.fixture
def table():
    """More rows than a request takes, some of them bad, in front, middle and end."""
    made = rows(75)
    made["age"][0] = "many"
    made["front"][40] = b"not a picture"
    made["colour"][74] = ["a", "list"]
    return made


def assert_same(
    found: Predictions, expected: Predictions, local: LocalPredictor, program: str
) -> None:
    assert found.errors == expected.errors
    answer = local.answers[program]
    compared = compare_answers("triton", program, answer, expected.columns, found.columns)
    assert all(column.holds for column in compared), compared


@SCHEMES
@pytest.mark.parametrize("program", ["predict", "embed"])
def test_a_client_answers_as_the_predictor_in_process(server, local, table, scheme, program):
    expected = local.run(table, program)
    assert len(expected.errors) == 3
    with Client(server.url(scheme)) as client:
        assert client.target == "cpu"
        assert_same(client.run(table, program), expected, local, program)


@SCHEMES
def test_the_client_for_asyncio_answers_the_same(server, local, table, scheme):
    async def ask() -> tuple[Any, Any, Any]:
        async with AsyncClient(server.url(scheme)) as client:
            return (
                await client.run(table),
                await client.predict_proba(table, return_errors=True),
                await client.extract_embedding(rows(3)),
            )

    found, (probabilities, errors), features = asyncio.run(ask())
    expected = local.run(table)
    assert_same(found, expected, local, "predict")
    assert errors == expected.errors
    np.testing.assert_allclose(
        probabilities, local.predict_proba(table, return_errors=True)[0], atol=1e-5
    )
    np.testing.assert_allclose(features, local.extract_embedding(rows(3)), atol=1e-5)


def test_every_form_of_table_and_picture_is_answered_alike(server, local, tmp_path):
    write_pictures(tmp_path)
    expected = local.predict_proba(make_table(tmp_path, "columns", "bytes"))
    with Client(server.url()) as client:
        for table, form in combinations():
            made = make_table(tmp_path, table, form)
            found = client.predict_proba(made, image_root=tmp_path, as_pandas=False)
            np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=f"{table}, {form}")


def test_absent_columns_are_named_once_and_failed_rows_are_counted(server, table):
    del table["size"]
    with Client(server.url()) as client, pytest.warns(RowWarning) as noted:
        client.predict(table)
    said = [str(warning.message) for warning in noted]
    assert [text.split(",")[0] for text in said] == [
        "column 'size' is absent: its cells count as gaps",
        "3 of 75 rows have no answer",
    ]


def post(server: TritonServer, path: str, body: object) -> Any:
    """Plain HTTP, as curl would send it."""
    request = urllib.request.Request(
        f"http://{server.control.address}/v2/models/{server.bundle.name}/{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def infer(server: TritonServer, texts: list[str], program: str = "predict") -> dict[str, Any]:
    data = {"name": "row", "shape": [len(texts), 1], "datatype": "BYTES", "data": texts}
    body = {"inputs": [data], "parameters": {"program": program}}
    answer = post(server, "infer", body)
    return {output["name"]: output["data"] for output in answer["outputs"]}


@SCHEMES
def test_a_client_for_asyncio_connects_at_its_first_calls(server, local, scheme):
    async def ask() -> Any:
        client = AsyncClient(server.url(scheme))
        try:
            return await asyncio.gather(*(client.predict_proba(rows(3)) for _ in range(3)))
        finally:
            await client.close()

    for found in asyncio.run(ask()):
        np.testing.assert_allclose(found, local.predict_proba(rows(3)), atol=1e-5)


def test_plain_http_gives_the_same_answer(server, local):
    table = rows(3)
    expected = local.run(table)
    schema = local.pipeline.schema
    texts = [encode_row(schema, {k: v[i] for k, v in table.items()}).decode() for i in range(3)]
    found = infer(server, texts)
    assert found["kind"] == expected.columns["kind"]
    flat = local.predict_proba(table).reshape(-1)
    np.testing.assert_allclose(found["probabilities"], flat, atol=1e-5)
    for i, text in enumerate(texts):
        one = post(server, "generate", {"row": text})
        assert (one["kind"], one["row_error"]) == (expected.columns["kind"][i], "")
        np.testing.assert_allclose(one["probabilities"], flat[3 * i : 3 * i + 3], atol=1e-5)
    features = post(server, "generate", {"row": texts[0], "program": "embed"})["features"]
    np.testing.assert_allclose(
        features, local.run(table, "embed").columns["features"][0], atol=1e-5
    )


BAD_ROWS = {
    "no JSON": ("{title", "", "not a JSON object"),
    "an array": ('["x"]', "", "not a JSON object"),
    "1e999": ('{"age": 1e999}', "", "not a JSON object"),
    "a lone surrogate": (r'{"title": "\ud800"}', "", "not a JSON object"),
    "deep nesting": ('{"age": ' + "[" * 9000 + "]" * 9000 + "}", "", "not a JSON object"),
    "a word for a number": ('{"age": "many"}', "age", "'many' is not a finite number"),
    "an infinity": ('{"age": "inf"}', "age", "not a finite number"),
    "a number of 400 digits": ('{"age": ' + "9" * 400 + "}", "age", "not a finite number"),
    "a list for a category": ('{"colour": ["red"]}', "colour", "not a category"),
    "a path": ('{"front": "/etc/passwd"}', "front", "a server opens no path"),
    "a path in a list": ('{"front": ["/etc/passwd"]}', "front", "a server opens no path"),
    "a path in an object": ('{"front": {"path": "/etc/passwd"}}', "front", "neither base64"),
    "a path as base64": (
        json.dumps({"front": base64.b64encode(b"/etc/passwd").decode()}),
        "front",
        "not a picture of a known kind",
    ),
    "pictures not sent": ('{"front": 2}', "front", "2 pictures announced, 0 sent"),
    "a cut picture": (
        json.dumps({"front": base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"0" * 40).decode()}),
        "front",
        "picture",
    ),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_fails_alone(server, name):
    text, column, said = BAD_ROWS[name]
    good = '{"title": "red cat"}'
    expected = infer(server, [good])
    found = infer(server, [good, text, good])
    error = json.loads(found["row_error"][1])
    assert error["column"] == column
    assert said in error["what"]
    assert [found["row_error"][i] for i in (0, 2)] == ["", ""]
    assert [found["kind"][i] for i in (0, 2)] == expected["kind"] * 2
    width = len(expected["probabilities"])
    assert found["probabilities"][width : 2 * width] == [0.0] * width
    for start in (0, 2 * width):
        np.testing.assert_allclose(
            found["probabilities"][start : start + width], expected["probabilities"], atol=1e-6
        )


def test_a_path_as_the_bytes_of_a_picture_is_not_opened(server):
    client = triton_grpc.InferenceServerClient(server.url().split("/")[2])
    row, images = (triton_grpc.InferInput(name, [1, 1], "BYTES") for name in ("row", "images"))
    row.set_data_from_numpy(np.array([[b'{"title": "x", "front": 1}']], object))
    images.set_data_from_numpy(np.array([[b"/etc/passwd"]], object))
    error = json.loads(client.infer("tiny", [row, images]).as_numpy("row_error")[0, 0])
    assert error["column"] == "front"
    assert "not a picture of a known kind" in error["what"]


def test_a_bad_request_is_refused_alone(server, local):
    """Requests meet in one batch; who shares it with a faulty one is answered all the same."""
    good = '{"title": "the old dog"}'
    expected = infer(server, [good])["kind"]

    def ask(kind):
        try:
            if kind == "no such program":
                return infer(server, [good], "predicts")
            if kind == "a required column is absent":
                return infer(server, ['{"body": "x"}'])
            return infer(server, [good], kind)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]

    kinds = ["predict", "no such program", "embed", "a required column is absent"] * 25
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(ask, kinds))
    for kind, answer in zip(kinds, found, strict=True):
        if kind == "predict":
            assert answer["kind"] == expected
        elif kind == "embed":
            assert "features" in answer
        else:
            code, text = answer
            assert code == 400
            said = {"no such program": "'predicts'", "a required column is absent": "'title'"}
            assert said[kind] in text


def test_a_request_of_too_many_rows_is_refused(server):
    with pytest.raises(urllib.error.HTTPError) as caught:
        infer(server, ['{"title": "x"}'] * 33)
    assert caught.value.code == 400


@SCHEMES
def test_every_form_of_a_picture_gives_the_answer_of_the_predictor_in_process(
    server, local, tmp_path, scheme
):
    picture = next(cell for cell in rows()["front"] if isinstance(cell, bytes))
    (tmp_path / "one.png").write_bytes(picture)
    image = Image.open(io.BytesIO(picture))
    cells = [
        picture,
        tmp_path / "one.png",
        f"{tmp_path}/one.png;{tmp_path}/one.png",
        image,
        np.asarray(image),
        [picture, tmp_path / "one.png"],
        base64.b64encode(picture).decode(),
        None,
    ]
    table = {"title": ["x"] * len(cells), "front": cells}
    with Client(server.url(scheme)) as client, pytest.warns(RowWarning):
        found = client.predict_proba(table)
    with pytest.warns(RowWarning):
        expected = local.predict_proba(table)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    alone = found[0]
    for i in (1, 3, 4, 6):
        np.testing.assert_allclose(found[i], alone, atol=1e-6)


def test_paths_in_a_file_are_relative_to_the_file(server, tmp_path):
    picture = next(cell for cell in rows()["front"] if isinstance(cell, bytes))
    (tmp_path / "one.png").write_bytes(picture)
    (tmp_path / "rows.csv").write_text("title,front\nx,one.png\n")
    with Client(server.url()) as client:
        table = read_table(tmp_path / "rows.csv")
        from_file = client.run(table).columns["probabilities"]
        from_memory = client.run({"title": ["x"], "front": [picture]}).columns["probabilities"]
    np.testing.assert_array_equal(from_file, from_memory)


def test_a_file_that_is_not_there_fails_its_row_alone(server):
    table = take_rows(rows(3), range(3)) | {"front": [None, "absent.png", None]}
    with Client(server.url()) as client:
        found = client.run(table)
    assert [(error.row, error.column) for error in found.errors] == [(1, "front")]
    assert found.columns["kind"][1] is None
    assert None not in (found.columns["kind"][0], found.columns["kind"][2])


def test_spelling_is_checked_before_anything_is_sent(server):
    with Client(server.url()) as client:
        with pytest.raises(SchemaError, match="'title' is absent, 'Title' is unknown"):
            client.predict({"Title": ["x"]})
        with pytest.raises(SchemaError, match="it has 'embed'"):
            client.run({"title": ["x"]}, "embedd")


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_model_or_server_that_is_not_there_is_said(server, scheme):
    with pytest.raises(ServerError, match="no model 'tinny' that is loaded"):
        Client(server.url(scheme).replace("tiny", "tinny"))
    with pytest.raises(ServerError, match="no server answers there"):
        Client(f"{scheme}://127.0.0.1:1/tiny", timeout_s=5)

    async def ask() -> None:
        async with AsyncClient(f"{scheme}://127.0.0.1:1/tiny", timeout_s=5):
            pass

    with pytest.raises(ServerError, match="no server answers there"):
        asyncio.run(ask())


@pytest.mark.parametrize("url", ["tiny", "grpc://host:1", "ftp://host:1/tiny", "grpc:///tiny"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(ConfigError, match="grpc://HOST:PORT/NAME"):
        Client(url)


@SCHEMES
def test_a_server_that_takes_too_long_is_said(server, scheme):
    with Client(server.url(scheme), timeout_s=30) as client:
        transport: Any = client._transport
        client._timeout_s = transport._timeout_s = 0.2
        if scheme == "http":  # its limit belongs to the connection
            transport._own.__dict__.clear()
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(ServerError, match=r"no answer within 0\.2 s"):
                client.predict(rows(20))
        finally:
            os.kill(server.process.pid, signal.SIGCONT)


def test_strangers_cannot_change_what_is_served(server):
    url = f"http://{server.control.address}/v2/repository/models/tiny/unload"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(url, b"{}"), timeout=10)
    assert caught.value.code == 403
    client = triton_grpc.InferenceServerClient(server.url().split("/")[2])
    with pytest.raises(InferenceServerException, match="restricted"):
        client.unload_model("tiny")
    assert server.find_fault() == ""
