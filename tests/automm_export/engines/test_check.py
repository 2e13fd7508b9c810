"""Engines against ONNX Runtime. No GPU runs here: sessions that answer what they are told to."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from automm_export.cases import Cases
from automm_export.engines import check
from automm_export.engines.check import compare_engines, largest_difference
from automm_serve.bundle import Bundle
from automm_serve.engines import Engine, Profile, Range
from automm_serve.errors import ExportError
from automm_serve.gpu import Gpu
from automm_serve.sessions import open_session
from automm_serve.tensors import Tensors
from tests.automm_export.tiny import rows

CARD = Gpu("NVIDIA A10", "8.6", 24 << 30)


class Off:
    """ONNX Runtime, and an offset: what an engine may answer."""

    def __init__(self, session: Any, by: float) -> None:
        self.inputs, self.outputs = session.inputs, session.outputs
        self._session, self._by = session, by
        self.feeds: list[Tensors] = []

    def run(self, feed: Tensors) -> Tensors:
        self.feeds.append(feed)
        found = self._session.run(feed)
        return {name: (tensor + self._by).astype(np.float32) for name, tensor in found.items()}

    def close(self) -> None:
        self._session.close()


def compare(path: Path, monkeypatch: pytest.MonkeyPatch, by: float, gpu: Gpu | None = CARD) -> Any:
    bundle = Bundle.open(path)
    graph = bundle.manifest.graphs["predict"]
    profile = Profile({"batch": Range(1, 2, 8), "text_length": Range(16, 16, 32)})
    engine = Engine(
        path="e.rtx", builder="tensorrt_rtx", version="1", precision="fp32",
        capabilities=("8.6",), device="", profiles=(profile,), graph_sha256="",
    )  # fmt: skip
    made: list[Off] = []

    def opened(file: Path, *specs: Any, engine: Any = None) -> Any:
        if file.suffix != ".rtx":
            return open_session(file, *specs)
        made.append(Off(open_session(path / graph.files["fp32"], *specs), by))
        return made[-1]

    monkeypatch.setattr(check, "open_session", opened)
    graphs = {"predict": msgspec.structs.replace(graph, engines=(engine,))}
    found = compare_engines(path, graphs, bundle.pipeline, rows(), gpu, ["e.rtx"])
    return SimpleNamespace(
        engine=found[0]["predict"].engines[0], not_run=found[1], feeds=made[0].feeds if made else []
    )


def test_the_largest_difference_is_recorded_and_only_shapes_that_fit_are_asked(
    exported, monkeypatch
):
    found = compare(exported[0], monkeypatch, 1e-4)
    assert found.engine.difference == pytest.approx(1e-4, rel=0.01)
    assert found.not_run == ()
    sizes = {feed["text_ids"].shape for feed in found.feeds}
    assert len({rows for rows, _ in sizes}) > 1
    assert max(rows for rows, _ in sizes) <= 8
    assert max(length for _, length in sizes) <= 32


def test_an_engine_that_computes_something_else_fails(exported, monkeypatch):
    with pytest.raises(ExportError, match=r"differ from ONNX Runtime's by 0\.5"):
        compare(exported[0], monkeypatch, 0.5)
    with pytest.raises(ExportError, match="not finite"):
        compare(exported[0], monkeypatch, float("nan"))


@pytest.mark.parametrize("gpu", [None, Gpu("NVIDIA H100", "9.0", 80 << 30)])
def test_without_a_card_that_runs_it_the_bundle_says_so(exported, monkeypatch, gpu):
    found = compare(exported[0], monkeypatch, 0.0, gpu)
    assert found.engine.difference is None
    assert found.feeds == []
    (line,) = found.not_run
    assert line.startswith("engines e.rtx: built, and not executed")
    assert ("has none" if gpu is None else "has 9.0") in line


def test_outputs_of_another_shape_are_no_answer(exported):
    bundle = Bundle.open(exported[0])
    graph = bundle.manifest.graphs["predict"]
    session = open_session(exported[0] / graph.files["fp32"], graph.inputs, graph.outputs)
    cut = SimpleNamespace(run=lambda feed: {k: v[:1] for k, v in session.run(feed).items()})
    feed = Cases(bundle.pipeline, rows()).control()
    assert largest_difference(session, session, [feed])[0] == 0
    with pytest.raises(ExportError, match="the engine gives"):
        largest_difference(cut, session, [feed])
