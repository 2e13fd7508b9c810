"""Graphs beyond the 2 GB of a protobuf message: their weights lie beside them, in the bundle."""

import shutil
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from automm_export.export import Exportable, ExportOptions, export
from automm_export.rewrite import IR_VERSION, LARGEST_FILE
from automm_serve.bundle import Bundle
from automm_serve.errors import BundleError
from automm_serve.onnx_file import read_ir_version, weight_files
from automm_serve.triton.repository import hold, open_served
from automm_serve.verify import verify
from tests.automm_export.tiny import TinyGraph, export_tiny, exportable, rows

PROTOBUF_LIMIT = 2**31


class LargeGraph(TinyGraph):
    """The tiny graph with an embedding of any size, whose rows the texts reach from end to end."""

    WIDTH = 1024

    def __init__(self, fitted, answer, words: int) -> None:
        super().__init__(fitted, answer)
        self.large = nn.Embedding(words, self.WIDTH, _weight=torch.empty(words, self.WIDTH))
        self._stride = words // 64
        with torch.no_grad():
            columns = torch.sin(torch.arange(self.WIDTH, dtype=torch.float32))
            torch.mul(torch.linspace(-1, 1, words)[:, None], columns, out=self.large.weight)

    def forward(self, tensors):
        found = super().forward(tensors)
        large = self.large(tensors["text_ids"] * self._stride).mean(dim=(1, 2), keepdim=False)
        return {**found, "features": found["features"] + large[:, None]}


def large_model(words: int) -> Exportable:
    model = exportable()
    answer = model.pipeline.programs["predict"].answer
    return model._replace(graphs={"predict": LargeGraph(model.pipeline.processors, answer, words)})


def check(bundle: Path, weights: int) -> None:
    """The bundle is whole: its weights lie beside the graph, are checked, loaded and answer."""
    opened = Bundle.open(bundle)
    (graph,) = opened.manifest.graphs.values()
    path = bundle / graph.files["fp32"]
    assert weight_files(path) == ("model.onnx.data",)
    assert read_ir_version(path) == IR_VERSION
    assert path.stat().st_size < 1_000_000
    beside = f"{graph.files['fp32']}.data"
    assert opened.manifest.files[beside].size_bytes >= weights
    model = onnx.load(path, load_external_data=False)
    assert not [node for node in model.graph.node if node.metadata_props or node.doc_string]
    report = verify(bundle)
    assert report.ok, report.problems
    assert report.golden
    predictor = opened.predictor("cpu")
    answers = predictor.run(rows(4))
    assert set(answers.columns["kind"]) <= {"cat", "dog", "mouse"}
    predictor.close()


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def test_a_small_limit_takes_the_same_way_as_a_large_graph(tmp_path):
    report = export(large_model(64), tmp_path / "bundle", ExportOptions(largest_file=100_000))
    check(tmp_path / "bundle", 64 * 1024 * 4)
    assert all(parity.holds for parity in report.parity.columns)


def test_the_weights_count_in_the_folders_name_and_in_the_digests(tmp_path):
    options = ExportOptions(largest_file=100)
    one = export_tiny(tmp_path / "one", options=options)
    two = export_tiny(tmp_path / "two", seed=1, options=options)
    graphs = [Bundle.open(path).manifest.graphs["predict"] for path in (one, two)]
    assert graphs[0].model != graphs[1].model
    weights = one / f"{graphs[0].files['fp32']}.data"
    flip(weights, weights.stat().st_size // 2)
    assert any("model.onnx.data" in problem for problem in verify(one).problems)
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"model\.onnx\.data: it has \d+ bytes"):
        Bundle.open(one)
    weights.unlink()
    with pytest.raises(BundleError, match=r"model\.onnx\.data: the file is absent"):
        Bundle.open(one)


def test_the_same_export_gives_the_same_bytes_beside_the_graph_too(tmp_path):
    options = ExportOptions(largest_file=100)
    contents = []
    for name in ("one", "two"):
        bundle = export_tiny(tmp_path / name, options=options)
        graph = Bundle.open(bundle).manifest.graphs["predict"]
        beside = f"{graph.files['fp32']}.data"
        contents.append([(bundle / path).read_bytes() for path in (graph.files["fp32"], beside)])
    assert contents[0] == contents[1]


def test_below_the_limit_everything_lies_in_one_file(exported):
    path, _ = exported
    (graph,) = Bundle.open(path).manifest.graphs.values()
    assert weight_files(path / graph.files["fp32"]) == ()
    assert not list((path / "model_repository").rglob("*.data"))


def test_what_is_held_for_a_server_holds_the_weights_too(tmp_path):
    bundle = export_tiny(tmp_path / "bundle", options=ExportOptions(largest_file=100))
    (tmp_path / "scratch").mkdir()
    held = hold(open_served(bundle, "cpu"), tmp_path / "scratch", "cpu")
    assert (held.folder(held.graphs[0]) / "1" / "model.onnx.data").is_file()


@pytest.mark.slow
def test_a_graph_just_over_2_gb_exports_verifies_loads_and_answers(tmp_path):
    words = 1 + PROTOBUF_LIMIT // (LargeGraph.WIDTH * 4) + 64
    weights = words * LargeGraph.WIDTH * 4
    assert LARGEST_FILE < PROTOBUF_LIMIT < weights < 1.01 * PROTOBUF_LIMIT
    if shutil.disk_usage(tmp_path).free < 3 * weights:
        pytest.skip(f"{3 * weights / 1e9:.0f} GB of disk are needed in {tmp_path}")
    bundle = tmp_path / "bundle"
    try:
        export(large_model(words), bundle)
        check(bundle, weights)
        (graph,) = Bundle.open(bundle).manifest.graphs.values()
        flip(bundle / f"{graph.files['fp32']}.data", weights // 2)
        assert any("model.onnx.data" in problem for problem in verify(bundle).problems)
    finally:
        shutil.rmtree(bundle, ignore_errors=True)  # pytest keeps the folders of three runs
