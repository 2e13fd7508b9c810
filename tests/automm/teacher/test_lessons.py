"""What a student learns of its teacher, and what is kept of it."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file

from automm.predictor import MultiModalPredictor
from automm.training import distill
from automm.training.module import TrainingModule
from automm_serve.bundle import load as load_bundle
from automm_serve.tensors import take_rows
from tests.automm.teacher.teaching import SMALL, fit, points, weights
from tests.automm.training.running import start, write_script
from tests.pets import pets


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
