"""Fits that learn from a teacher, from the table to the bundle."""

import json
import random
import shutil
import warnings
from time import monotonic

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from automm.cli.main import main
from automm.data.rows import Rows
from automm.predictor import MultiModalPredictor
from automm.training import distill
from automm.training.fit import FitWarning
from automm.training.module import TrainingModule
from automm.training.recorder import Recorder
from automm.training.resume import STATE
from automm_serve.bundle import load as load_bundle
from automm_serve.errors import BundleError, ConfigError
from automm_serve.table import read_table
from automm_serve.tensors import Table, take_rows
from tests.automm.training.running import TYPES, settings, start, table, write_script
from tests.pets import pets

SMALL = {
    "model.names": ["numerical_mlp"],
    "model.numerical_mlp.hidden_size": 12,
    "optim.lr": 1e-2,
    "optim.max_epochs": 6,
    "optim.val_check_interval": 1.0,
    "env.batch_size": 16,
    "env.per_gpu_batch_size": 16,
    "env.accelerator": "cpu",
}


def points(rows, seed, *, wrong=False, names=("no", "yes")):
    """Two numbers a row, and whether their sum is above 0; or just the other way round."""
    chance = random.Random(seed)
    one, other = ([chance.gauss(0, 1) for _ in range(rows)] for _ in range(2))
    kind = [names[(x + y > 0) != wrong] for x, y in zip(one, other, strict=True)]
    return {"one": one, "other": other, "kind": kind}


def fit(path, data, given=SMALL, label="kind", **named):
    predictor = MultiModalPredictor(label=label, path=path, verbosity=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return predictor.fit(data, hyperparameters=given, **named)


def weights(predictor):
    state = predictor.exportable().graphs["predict"].state_dict()
    return {name: tensor.clone() for name, tensor in state.items()}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("teacher") / "t", points(400, 0), SMALL)


@pytest.fixture(scope="module")
def of_pets(tmp_path_factory):
    """A teacher of text, numbers and categories, and the settings of a smaller student."""
    folder = tmp_path_factory.mktemp("pets")
    given = settings(folder, optim__max_epochs=2)
    known = fit(folder / "t", table(90), given, column_types=TYPES)
    student = settings(folder, optim__top_k=2) | {
        "model.names": ["numerical_mlp", "categorical_mlp", "fusion_mlp"],
        "model.fusion_mlp.hidden_sizes": [24],
    }
    return known, student


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """A file of pets."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    cells = table(60)
    rows = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_student_learns_what_the_teacher_says_against_its_labels(teacher, tmp_path):
    before = weights(teacher)
    data, right = points(160, 1, wrong=True), points(200, 7)
    alone = fit(tmp_path / "alone", data, tuning_data=points(60, 2, wrong=True))
    taught = fit(tmp_path / "taught", data, tuning_data=points(60, 2), teacher_predictor=teacher)
    wanted = np.array(teacher.predict(right))
    assert np.mean(np.array(alone.predict(right)) == wanted) < 0.2
    assert np.mean(np.array(taught.predict(right)) == wanted) > 0.8
    # All of it was the student's: the teacher is as it was.
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(teacher).items())


def test_nothing_of_the_teacher_is_saved_counted_or_exported(teacher, tmp_path):
    # A wider student: a projection is trained too, and thrown away.
    given = SMALL | {"model.numerical_mlp.hidden_size": 20, "optim.max_epochs": 2}
    data = points(60, 1)
    alone = fit(tmp_path / "alone", data, given)
    taught = fit(tmp_path / "taught", data, given, teacher_predictor=teacher.path)
    assert taught.total_parameters == alone.total_parameters
    assert taught.trainable_parameters == alone.trainable_parameters
    shapes = [
        {name: t.shape for name, t in load_file(one.path / "model.safetensors").items()}
        for one in (alone, taught)
    ]
    assert shapes[0] == shapes[1]
    taught.export(tmp_path / "bundle")
    rows = points(20, 5)
    loaded = MultiModalPredictor.load(tmp_path / "taught")
    np.testing.assert_array_equal(loaded.predict_proba(rows), taught.predict_proba(rows))
    found = load_bundle(tmp_path / "bundle").predict_proba(rows)
    np.testing.assert_allclose(found, taught.predict_proba(rows), atol=1e-5)


def test_what_brings_features_to_the_teachers_width_is_trained(teacher, tmp_path, monkeypatch):
    seen = []
    make = TrainingModule.configure_optimizers

    def watched(self):
        assert self.distiller is not None
        seen.append((self.distiller, [p.detach().clone() for p in self.distiller.parameters()]))
        return make(self)

    monkeypatch.setattr(TrainingModule, "configure_optimizers", watched)
    given = SMALL | {"model.numerical_mlp.hidden_size": 20, "optim.max_epochs": 1}
    fit(tmp_path / "p", points(60, 1), given, teacher_predictor=teacher)
    ((distiller, before),) = seen
    assert [tuple(p.shape) for p in before] == [(12, 20), (12,)]
    pairs = zip(distiller.parameters(), before, strict=True)
    assert all((after - old).abs().max() > 1e-3 for after, old in pairs)
    head = teacher.exportable().graphs["predict"].model.head
    temperature = float(teacher.exportable().graphs["predict"].model.temperature)
    torch.testing.assert_close(distiller.weight, head.weight.detach() / temperature)


def test_classes_are_those_of_the_same_name_in_whatever_order(teacher, tmp_path, monkeypatch):
    lessons = []
    ask = distill.ask

    def watched(*arguments, **named):
        lessons.append(ask(*arguments, **named))
        return lessons[-1]

    monkeypatch.setattr("automm.training.prepare.ask", watched)
    # 'no' is put last: by position it would be taken for the teacher's 'yes'.
    given = SMALL | {"data.pos_label": "no", "optim.max_epochs": 4}
    data = points(120, 1, wrong=True)
    taught = fit(tmp_path / "p", data, given, tuning_data=points(60, 2), teacher_predictor=teacher)
    assert taught.class_labels == ["yes", "no"]
    assert teacher.class_labels == ["no", "yes"]
    rows = take_rows(data, range(120))
    said = torch.from_numpy(lessons[0].logits).softmax(dim=1).numpy()
    np.testing.assert_allclose(said[:, ::-1], teacher.predict_proba(rows), atol=1e-5)
    right = points(200, 7)
    assert np.mean(np.array(taught.predict(right)) == np.array(teacher.predict(right))) > 0.8


def test_numbers_are_learned_in_the_students_own_scale(tmp_path):
    def prices(rows, seed, *, scale=1.0):
        found = points(rows, seed)
        sums = [100 + 30 * x + 30 * y for x, y in zip(found["one"], found["other"], strict=True)]
        return {"one": found["one"], "other": found["other"], "price": [scale * s for s in sums]}

    given = SMALL | {"optim.max_epochs": 12}
    known = fit(tmp_path / "t", prices(300, 0), given, label="price")
    # The rows of the student are in cents: what it learns is what the teacher says, in euros.
    changed = given | {"data.label.numerical_preprocessing": "minmaxscaler", "optim.max_epochs": 30}
    taught = fit(
        tmp_path / "p",
        prices(200, 1, scale=3.0),
        changed | {"distiller.hard_label_weight": 0.0},
        label="price",
        tuning_data=prices(40, 2),
        teacher_predictor=known,
    )
    rows = prices(100, 5)
    found, wanted = np.array(taught.predict(rows)), np.array(known.predict(rows))
    assert np.abs(found - wanted).mean() < 0.3 * np.std(wanted)
    assert np.abs(np.mean(found) - np.mean(wanted)) < 15  # three times the prices are 200 above


def test_the_teacher_may_read_columns_that_the_student_leaves_out(of_pets, lists, tmp_path):
    known, student = of_pets
    taught = fit(
        tmp_path / "p", lists, student, teacher_predictor=known.path,
        column_types={"title": None, "city": "categorical"},
    )  # fmt: skip
    assert "title" not in {c.name for c in taught.exportable().pipeline.schema.columns}
    rows = {name: table(6, 3)[name] for name in ("weight", "age", "city")}
    assert len(taught.predict(rows)) == 6


def test_each_row_has_the_answers_of_the_same_row_of_the_table(
    of_pets, lists, tmp_path, monkeypatch
):
    known, student = of_pets
    seen = []
    taught = Rows.taught

    def watched(self, teacher, unread=()):
        found = taught(self, teacher, unread)
        seen.append((found.table, found.batch(range(len(found))).teacher))
        return found

    monkeypatch.setattr(Rows, "taught", watched)
    fit(
        tmp_path / "p",
        lists,
        student,
        teacher_predictor=known,
        column_types=TYPES | {"title": None},
    )
    rows, said = seen[0]
    positions = [int(str(p)) for p in rows["\0position"]]
    whole = take_rows(read_table(lists), positions)
    assert len(positions) < 60
    np.testing.assert_allclose(
        said["logits"].softmax(dim=1).numpy(), known.predict_proba(whole), atol=1e-5
    )
    np.testing.assert_allclose(said["features"].numpy(), known.extract_embedding(whole), atol=1e-5)


def test_rows_that_the_teacher_cannot_read_are_left_out_and_counted(of_pets, tmp_path):
    known, student = of_pets
    data = table(60)
    data["age"][4] = float("inf")
    data["weight"][9] = "heavy"
    types = {"title": None, "city": "categorical", "age": "numerical", "weight": None}
    taught = fit(
        tmp_path / "p", data, student, teacher_predictor=known,
        tuning_data=table(20, 3), column_types=types,
    )  # fmt: skip
    summary = taught.fit_summary()
    assert summary["rows"]["train"] == 58
    assert [(c["row"], c["column"]) for c in summary["left_out"]["train"]] == [
        (4, "age"),
        (9, "weight"),
    ]


def test_portions_and_class_weights_give_the_loss_of_the_whole_batch(teacher, tmp_path):
    still = SMALL | {"model.numerical_mlp.dropout": 0.0, "optim.class_weights": [1.0, 5.0]}
    losses = {}
    for portion in (16, 5):
        given = still | {"env.per_gpu_batch_size": portion, "optim.max_epochs": 2}
        found = fit(tmp_path / f"p{portion}", points(60, 1), given, teacher_predictor=teacher)
        losses[portion] = [entry["loss"] for entry in found.fit_summary()["history"]]
    assert losses[5] == pytest.approx(losses[16], abs=1e-4)


def test_labels_can_be_left_out_of_account(teacher, tmp_path, monkeypatch):
    seen = []
    loss = TrainingModule._loss

    def watched(self, batch, weight, share):
        found = loss(self, batch, weight, share)
        seen.append([float(x.detach()) for x in (found, loss(self, batch, 0.0, share))])
        return found

    monkeypatch.setattr(TrainingModule, "_loss", watched)
    given = SMALL | {"distiller.hard_label_weight": 0.0, "model.numerical_mlp.dropout": 0.0}
    fit(tmp_path / "p", points(40, 1), given | {"optim.max_epochs": 1}, teacher_predictor=teacher)
    assert seen
    assert all(one == pytest.approx(other) for one, other in seen)


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


def test_an_optional_column_that_only_the_teacher_misses_is_told(of_pets, tmp_path):
    known, student = of_pets
    assert not next(
        c for c in known.exportable().pipeline.schema.columns if c.name == "title"
    ).required
    data = {name: cells for name, cells in table(60).items() if name != "title"}
    predictor = MultiModalPredictor(label="kind", path=tmp_path / "p", verbosity=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predictor.fit(
            data, hyperparameters=student | {"optim.max_epochs": 1}, teacher_predictor=known,
            column_types={"city": "categorical"},
        )  # fmt: skip
    said = [str(one.message) for one in caught if one.category is FitWarning]
    assert sum("the teacher: column 'title' is absent" in one for one in said) == 1


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


def test_mixed_pictures_learn_from_a_teacher_too(tmp_path):
    from tests.tiny_models import make_image_model

    cells = pets(36)
    data = {name: cells[name] for name in ("photo", "weight", "kind")}
    data["photo"] = [photo or cells["photo"][0] for photo in data["photo"]]
    given = SMALL | {
        "model.names": ["timm_image", "numerical_mlp", "fusion_mlp"],
        "model.timm_image.checkpoint_name": str(make_image_model(tmp_path / "image")),
        "model.timm_image.image_size": 32,
        "data.mixup.turn_on": True,
        "data.modality_dropout": 0.3,
        "optim.max_epochs": 1,
    }
    known = fit(tmp_path / "t", data, SMALL | {"optim.max_epochs": 1}, column_types={"photo": None})
    taught = fit(tmp_path / "p", data, given, teacher_predictor=known)
    assert taught.fit_summary()["stopped"] == "max_epochs"


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


TWO = """
predictor = MultiModalPredictor(label="kind", path=given["path"], verbosity=0)
predictor.fit(given["data"], hyperparameters=given["settings"], teacher_predictor=given["teacher"])
print("FOUND " + json.dumps(predictor.fit_summary()["history"]), flush=True)
"""


@pytest.mark.slow
def test_two_processes_learn_from_a_teacher_what_one_does(teacher, tmp_path):
    found = []
    for count in (1, 2):
        still = {"model.numerical_mlp.dropout": 0.0, "model.numerical_mlp.hidden_size": 20}
        script = write_script(
            tmp_path, TWO, path=str(tmp_path / f"p{count}"), data=points(59, 1),
            settings=SMALL | still | {"env.num_gpus": count, "env.per_gpu_batch_size": 5},
            teacher=str(teacher.path),
        )  # fmt: skip
        process = start(script, GLOO_SOCKET_IFNAME="lo", MASTER_ADDR="127.0.0.1")
        output = process.communicate(timeout=300)[0]
        assert process.returncode == 0, output
        lines = [line for line in output.splitlines() if "FOUND " in line]
        assert len(lines) == count, output
        found.append([entry["loss"] for entry in json.loads(lines[0].split("FOUND ")[1])])
    assert found[1] == pytest.approx(found[0], abs=1e-4)
    assert found[0][-1] < found[0][0]
