"""Fits with a teacher that were cut off, or that are gone on from without one."""

import json
import shutil
import warnings

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file

from automm.predictor import MultiModalPredictor
from automm.training.fit import FitWarning
from automm.training.recorder import Recorder
from automm.training.resume import STATE
from automm_serve.errors import ConfigError
from tests.automm.teacher.teaching import SMALL, fit, points
from tests.automm.training.running import TYPES


class Killed(BaseException):
    pass


def cut_off(monkeypatch, after, *arguments, **named):
    """Fit until a validation is written, and no further."""
    write, count = Recorder.write, []

    def deadly(*args, **kwargs):
        write(*args, **kwargs)
        count.append(1)
        if len(count) == after:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "write", deadly)
        with pytest.raises(Killed):
            fit(*arguments, **named)


EVERY_LOSS = {
    "distiller.softmax_regression_weight": 0.5,
    "distiller.output_feature_loss_weight": 0.5,
    "distiller.rkd_distance_loss_weight": 0.5,
    "distiller.rkd_angle_loss_weight": 0.5,
}


def test_a_fit_with_a_teacher_goes_on_to_the_very_same_result(
    of_pets, lists, tmp_path, monkeypatch
):
    monkeypatch.setenv("AUTOMM_THREADS", "1")
    known, student = of_pets
    given, named = student | EVERY_LOSS, {"column_types": TYPES | {"title": None}}
    path = tmp_path / "cut"
    cut_off(monkeypatch, 3, path, lists, given, teacher_predictor=known, **named)
    whole = fit(tmp_path / "whole", lists, given, teacher_predictor=known, **named)
    request = json.loads((path / STATE).read_bytes())["request"]
    assert request["teacher_predictor"] == str(known.path.absolute())

    resumed = MultiModalPredictor.load(path, resume=True, verbosity=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        resumed.fit(lists)  # the teacher too is the one it began with
    assert resumed.fit_summary()["history"] == whole.fit_summary()["history"]
    ours, theirs = (load_file(p / "model.safetensors") for p in (path, tmp_path / "whole"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_fit_is_not_gone_on_with_without_its_teacher(teacher, tmp_path, monkeypatch):
    data = points(60, 1)
    homeless = fit(tmp_path / "gone", points(80, 3), SMALL | {"optim.max_epochs": 1})
    shutil.rmtree(tmp_path / "gone")
    cut_off(monkeypatch, 1, tmp_path / "p", data, SMALL, teacher_predictor=homeless)

    def resume(**named):
        predictor = MultiModalPredictor.load(tmp_path / "p", resume=True, verbosity=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)
            return predictor.fit(data, **named)

    with pytest.raises(ConfigError, match=r"a predictor that lay in no folder\. Pass the same one"):
        resume()
    with pytest.raises(ConfigError, match="the teacher is not the one that it began with"):
        resume(teacher_predictor=teacher)
    assert resume(teacher_predictor=homeless).fit_summary()["stopped"] == "max_epochs"

    cut_off(monkeypatch, 1, tmp_path / "q", data, SMALL)
    predictor = MultiModalPredictor.load(tmp_path / "q", resume=True, verbosity=0)
    with pytest.raises(ConfigError, match="it began without one"):
        predictor.fit(data, teacher_predictor=teacher)


def test_a_distilled_predictor_goes_on_learning_without_its_teacher(teacher, tmp_path):
    given = SMALL | {"optim.max_epochs": 1, "distiller.temperature": 2.0}
    taught = fit(tmp_path / "p", points(60, 1), given, teacher_predictor=teacher)
    more = fit_more(taught, tmp_path / "more")
    assert more.fit_summary()["stopped"] == "max_epochs"


def fit_more(predictor, path, **named):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return predictor.fit(points(60, 2), save_path=path, **named)
