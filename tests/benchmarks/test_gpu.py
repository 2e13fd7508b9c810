import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import torch

from benchmarks import gpu, gpu_cell
from benchmarks.gpu_contestants import COLUMNS, to_half
from benchmarks.gpu_models import PARTS, PRESETS, TEXTS, all_models, build, feed
from tests.needs import ROOT

TABULAR = next(model for model in all_models() if model.part == "tabular")


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line_and_fails():
    ended = run()
    assert ended.returncode == 1
    assert ended.stdout == ""
    lines = [line for line in ended.stderr.splitlines() if "Warning" not in line]
    assert "There is no GPU" in lines[-1]
    assert "Traceback" not in ended.stderr


def test_each_preset_s_text_backbone_is_written_down():
    from automm.config.presets import find_preset

    names = {find_preset(preset).model.hf_text.checkpoint_name for preset in PRESETS}
    assert names == set(TEXTS)


def test_every_part_in_16_bits_answers_as_in_32(tmp_path):
    """The control of the column: what would be timed computes the same."""
    for model in all_models()[: len(PARTS)]:
        _, graph = build(model, tmp_path / model.part, tiny=True)
        rows = {name: torch.from_numpy(array) for name, array in feed(graph, 4, length=16).items()}
        with torch.inference_mode():
            expected = graph(rows)["probabilities"]
            halves = {n: t.half() if n.endswith("_valid") else t for n, t in rows.items()}
            found = to_half(graph)(halves)["probabilities"]
        assert found.dtype == torch.float16
        assert (found - expected).abs().max() < 0.02
        assert (expected.max(0).values - expected.min(0).values).max() > 1e-4


def test_the_same_weights_are_drawn_in_every_process(tmp_path):
    model = all_models()[0]
    graphs = [build(model, tmp_path / name, tiny=True)[1] for name in ("a", "b")]
    for one, other in zip(*(graph.parameters() for graph in graphs), strict=True):
        assert torch.equal(one, other)


def test_a_way_that_answers_otherwise_has_no_figures(tmp_path):
    pipeline, graph = build(TABULAR, tmp_path / "made", tiny=True)
    gpu_cell._export(pipeline, graph, tmp_path, length=16)
    for column in ("torch fp32", "ONNX Runtime fp16"):
        live = COLUMNS[column](graph, tmp_path, "cpu")
        gpu_cell._compare(live, graph, tmp_path, length=16)
        figures = gpu_cell._measure(live, graph, 16, seconds=0.001)
        assert 0 < figures["p50_ms"] <= figures["p95_ms"]
        assert figures["rows_per_second"] > 0
    for wrong in (2.0, np.nan):
        np.savez(tmp_path / "answers.npz", probabilities=np.full((4, 3), wrong, np.float32))
        with pytest.raises(RuntimeError, match="differ"):
            gpu_cell._compare(live, graph, tmp_path, length=16)


def test_what_cannot_run_says_why(tmp_path, monkeypatch):
    options = type("O", (), {"dry_run": True})()
    absent = gpu._in_its_process(TABULAR, "TensorRT fp16", tmp_path, options)
    assert gpu._words(absent) == "not run: RuntimeError: TensorRT builds and runs on a GPU alone"
    monkeypatch.setattr(gpu, "LIMIT_S", 0.01)
    assert "more than" in gpu._in_its_process(TABULAR, "torch fp32", tmp_path, options)["reason"]


@pytest.mark.slow
def test_the_dry_run_takes_every_way_there_is_on_a_cpu():
    before = {path: path.stat().st_mtime_ns for path in ROOT.glob("docs/results/gpu.*")}
    ended = run("--dry-run", "--only", "edge: tabular")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("DRY RUN")
    said = " ".join(ended.stderr.split())
    for column in COLUMNS:
        assert f"edge: tabular, {column}: " in said
    assert said.count("rows/s") >= 3  # torch.compile needs a C compiler
    assert {path: path.stat().st_mtime_ns for path in ROOT.glob("docs/results/gpu.*")} == before


def test_figures_of_another_machine_are_left_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "KEPT", tmp_path / "build" / "gpu.json")
    gpu._keep({"device": "one"}, {"a | b": {"reason": "x"}})
    assert gpu._kept({"device": "one"}) == {"a | b": {"reason": "x"}}
    assert gpu._kept({"device": "other"}) == {}
    gpu.KEPT.write_text("{")
    assert gpu._kept({"device": "one"}) == {}


def test_the_page_names_machine_columns_and_the_paper_s_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "RESULTS", tmp_path)
    model = all_models()[0]
    figures = {"p50_ms": 1.5, "p95_ms": 2.0, "rows_per_second": 900.0, "peak_mb": 77, "runs": 9}
    found: dict[str, gpu.Cell] = {f"{model.name} | {name}": figures for name in COLUMNS}
    found[f"{model.name} | TensorRT fp16"] = {"reason": "tensorrt is not installed"}
    gpu._write({"device": "NVIDIA X"}, [model], found)
    page = (tmp_path / "gpu.md").read_text()
    for words in ("NVIDIA X", *COLUMNS, "not run: tensorrt is not installed", "1.50 ms"):
        assert words in page
    for rate in ("35.6", "41.3", "16.0", "41.5", "8.9", "6.9"):
        assert f"| {rate} |" in page
    assert len(json.loads((tmp_path / "gpu.json").read_text())["rows"]) == len(COLUMNS)
