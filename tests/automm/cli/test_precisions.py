"""The table of precisions, as ``automm export`` prints it."""

from automm.cli.precisions import OPTIMISER, print_precisions
from automm_serve.precisions import PrecisionFigures

FIGURES = PrecisionFigures(
    towers={"text": "int8", "image": "fp32"},
    reasons={"image": "alone it loses 2.00 points"},
    metric="accuracy",
    rows=391,
    fp32=0.9105,
    value=0.9079,
    drop=0.26,
    drop_low=-0.51,
    drop_high=1.28,
    difference=0.16,
    judged_on="ONNX Runtime on the CPU",
    notes=("answers vary with the batch",),
)


def test_each_precision_stands_beside_fp32_with_its_interval_and_its_reasons(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    sizes = {"a/1/model.int8.onnx": 1000, "b/1/model.int8.onnx": 500, "a/1/model.onnx": 9}
    print_precisions({"int8": FIGURES}, sizes)
    out, err = capsys.readouterr()
    for cell in ("int8", "1,500", "0.9105", "0.9079", "+0.26", "-0.51 to +1.28", "391 rows"):
        assert cell in out
    said = out + err
    assert "image stays in fp32: alone it loses 2.00 points" in said
    assert "answers vary with the batch" in said


def test_without_precisions_only_the_optimiser_is_said(capsys):
    print_precisions({}, {})
    out, err = capsys.readouterr()
    assert OPTIMISER.split(":")[0] in out + err
    assert "lost" not in out
