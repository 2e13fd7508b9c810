from __future__ import annotations

import msgspec
import pytest

from automm_serve.errors import BundleError, SchemaError
from automm_serve.pipeline import (
    Program,
    Step,
    dump_pipeline,
    find_program,
    load_pipeline,
)
from automm_serve.processors import TextProcessor
from automm_serve.schema import Column, Schema
from tests.automm_serve.samples import predictor, same, table, word_tokenizer

PIPELINE = predictor().pipeline
PREDICT = PIPELINE.programs["predict"]


def test_a_pipeline_is_the_same_after_it_was_written_and_read(tmp_path):
    path = tmp_path / "pipeline.json"
    path.write_bytes(dump_pipeline(PIPELINE))
    again = load_pipeline(path)
    assert again == PIPELINE
    assert dump_pipeline(again) == path.read_bytes()
    data = PIPELINE.schema.conform(table(9, seed=3))[0]
    for one, other in zip(again.processors, PIPELINE.processors, strict=True):
        same(one.transform(data)[0], other.transform(data)[0])


def test_equal_pipelines_give_equal_bytes_whatever_the_order_of_their_programs():
    turned = dict(reversed(PIPELINE.programs.items()))
    assert list(turned) != list(PIPELINE.programs)
    assert dump_pipeline(msgspec.structs.replace(PIPELINE, programs=turned)) == dump_pipeline(
        PIPELINE
    )


def text(name: str, limit: int = 32, column: str = "title") -> TextProcessor:
    return TextProcessor.fit(name, [column], word_tokenizer().to_str(), limit)


def program(*processors: str, steps: tuple[Step, ...] = (Step("graph"),)) -> Program:
    return Program(processors, steps, PREDICT.answer)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"programs": {"embed": PREDICT}}, "no program 'predict'"),
        ({"programs": {}}, "no program 'predict'"),
        ({"programs": {"predict": program("text", steps=())}}, "'predict' runs no graph"),
        ({"programs": {"predict": program("sound")}}, "needs the processor 'sound'"),
        ({"schema": Schema((Column("title", "text"),))}, "which is not in the schema"),
        ({"processors": (text("text"), text("text"))}, "two processors make a tensor 'text_ids'"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused_in_memory_and_from_a_file(
    tmp_path, change, fault
):
    with pytest.raises(ValueError, match=fault):
        msgspec.structs.replace(PIPELINE, **change)
    # The same in a file that somebody made by hand.
    parts = {**msgspec.structs.asdict(PIPELINE), **change}
    path = tmp_path / "pipeline.json"
    path.write_bytes(msgspec.json.encode(parts))
    with pytest.raises(BundleError, match=fault):
        load_pipeline(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"name": "a"}', b"\xff", b"[" * 100_000, b'{"name": "\xff"}', b"null"],
)
def test_a_file_that_is_no_pipeline_is_named(tmp_path, content):
    (tmp_path / "pipeline.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"pipeline\.json"):
        load_pipeline(tmp_path / "pipeline.json")
    with pytest.raises(BundleError, match="No such file"):
        load_pipeline(tmp_path / "absent.json")


@pytest.mark.parametrize("place", [b'{"name"', b'{"processors"', b'{"answer"', b'"steps":[{'])
def test_a_field_that_this_release_does_not_know_is_refused(tmp_path, place):
    written = dump_pipeline(PIPELINE)
    known = written.replace(b'"steps":[{', b'"steps":[{"surprise":1,', 1)
    if place == b'{"name"':
        known = b'{"surprise":1,' + written[1:]
    elif place == b'{"processors"':
        known = written.replace(b'"type":"text"', b'"surprise":1,"type":"text"', 1)
    elif place == b'{"answer"':
        known = written.replace(b'"type":"classes"', b'"surprise":1,"type":"classes"', 1)
    assert known != written
    (tmp_path / "pipeline.json").write_bytes(known)
    with pytest.raises(BundleError, match="surprise"):
        load_pipeline(tmp_path / "pipeline.json")


def test_a_program_that_is_not_there_is_named_with_the_nearest():
    assert find_program(PIPELINE.programs, "embed") is PIPELINE.programs["embed"]
    with pytest.raises(SchemaError, match=r"'Predict'.*has 'predict'.*Choose one of embed, pred"):
        find_program(PIPELINE.programs, "Predict")
    with pytest.raises(SchemaError, match=r"no such program\. Choose"):
        find_program(PIPELINE.programs, "search")
