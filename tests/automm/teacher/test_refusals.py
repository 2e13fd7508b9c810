"""Teachers that are none, or that do not fit: said before any time is spent."""

import json
import shutil
from time import monotonic

import pytest

pytest.importorskip("torch")

import torch
from click.testing import CliRunner

from automm.cli.main import main
from automm.predictor import MultiModalPredictor
from automm.training import distill
from automm_serve.bundle import load as load_bundle
from automm_serve.errors import BundleError, ConfigError
from automm_serve.tensors import Table
from tests.automm.teacher.teaching import SMALL, fit, points


def bundle_of(predictor, folder):
    predictor.export(folder / "bundle")
    return folder / "bundle"


BAD = {
    "nothing": (lambda t, f: f / "nothing", "there is no such folder"),
    "no predictor": (lambda t, f: f, "neither a predictor nor a bundle"),
    "a URL": (lambda t, f: "grpc://127.0.0.1:8001/m", "is served, and gives answers alone"),
    "a bundle": (bundle_of, "is a bundle, which holds graphs.* from which it was exported"),
    "an opened bundle": (
        lambda t, f: load_bundle(bundle_of(t, f)),
        "no predictor that was trained",
    ),
    "an untrained one": (lambda t, f: MultiModalPredictor(label="kind"), "it is not trained"),
    "a number": (lambda t, f: 3, "int is no predictor"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_teacher_is_named(teacher, tmp_path, what):
    make, says = BAD[what]
    given = make(teacher, tmp_path)
    with pytest.raises(ConfigError, match=says):
        fit(tmp_path / "p", points(60, 1), teacher_predictor=given)
    assert not (tmp_path / "p").exists()


def test_a_damaged_teacher_is_named(teacher, tmp_path):
    copy = shutil.copytree(teacher.path, tmp_path / "copy")
    (copy / "model.safetensors").write_bytes(b"short")
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        fit(tmp_path / "p", points(60, 1), teacher_predictor=copy)


def renamed(data: Table, old: str, new: str) -> Table:
    return {new if name == old else name: cells for name, cells in data.items()}


@pytest.mark.parametrize(
    ("data", "label", "given", "says"),
    [
        (points(60, 1, names=("no", "maybe")), "kind", {}, "not know 'maybe'; no row is 'yes'"),
        (renamed(points(60, 1), "kind", "sort"), "sort", {}, "its label is 'kind'.*'sort'"),
        (
            {**points(60, 1), "kind": [float(i) for i in range(60)]},
            "kind", {}, "its problem_type is 'binary', that of this fit is 'regression'",
        ),
        (renamed(points(60, 1), "other", "third"), "kind", {}, "other columns.*'other' is absent"),
        (points(60, 1), "kind", {"distiller.soft_label_weight": 0,
                                 "distiller.output_feature_loss_weight": 0}, "teacher is 0"),
        (points(60, 1), "kind", {"distiller.temperature": 0}, "distiller.temperature"),
        (points(60, 1), "kind", {"distiller.temprature": 2}, "'distiller.temperature'"),
        (points(60, 1), "kind", {"distiller.matches": ["a"]}, "inner layers are not compared"),
    ],
)  # fmt: skip
def test_a_teacher_of_something_else_is_refused_before_training(
    teacher, tmp_path, data, label, given, says
):
    with pytest.raises(ConfigError, match=says):
        fit(tmp_path / "p", data, SMALL | given, label=label, teacher_predictor=teacher)
    assert not (tmp_path / "p").exists()


def test_settings_for_a_teacher_without_one_are_refused(tmp_path):
    given = SMALL | {"distiller.temperature": 2.0}
    with pytest.raises(ConfigError, match=r"there is none\. Pass teacher_predictor"):
        fit(tmp_path / "p", points(60, 1), given)
    defaults = SMALL | {"distiller.temperature": 5, "distiller.matches": None}
    fit(tmp_path / "p", points(60, 1), defaults | {"optim.max_epochs": 1})


def test_a_teacher_that_is_too_slow_for_the_time_limit_is_refused_at_once(teacher):
    model = teacher.exportable()
    known = distill.Teacher(model.pipeline, model.graphs["predict"].model, points(400, 0), "")
    answer = model.pipeline.programs["predict"].answer
    device, late = torch.device("cpu"), monotonic() - 1
    with pytest.raises(ConfigError, match=r"128 of 400 rows .* longer than time_limit leaves"):
        distill.ask(known, range(400), answer, device=device, deadline=late)
    # Where nothing is left to be asked, training itself looks at the time.
    whole = distill.ask(known, range(100), answer, device=device, deadline=late)
    assert whole.logits.shape == (100, 2)


def test_the_command_line_takes_a_teacher(teacher, tmp_path):
    data = points(60, 1)
    lines = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    given = [f"--set={key}={value}" for key, value in SMALL.items() if key != "model.names"]
    words = ["train", str(tmp_path / "rows.jsonl"), "--label", "kind", "--out", str(tmp_path / "p")]
    words += [*given, "--set", "model.names=numerical_mlp", "--set", "optim.max_epochs=1"]
    wrong = CliRunner().invoke(main, [*words, "--teacher", str(tmp_path)])
    assert (wrong.exit_code, "teacher_predictor (--teacher)" in wrong.output) == (1, True)
    assert "Traceback" not in wrong.output
    found = CliRunner().invoke(main, [*words, "--teacher", str(teacher.path)])
    assert found.exit_code == 0, found.output
    assert (tmp_path / "p" / "predictor.json").is_file()
