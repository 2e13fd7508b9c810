import warnings

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from automm.predictor import MultiModalPredictor
from automm.training import module as module_under_test
from automm.training.fit import FitWarning
from automm.training.module import TrainingModule
from automm_serve.errors import DataError
from tests.automm.training.running import TYPES, settings, table


def fit(folder, given, cells=None, name="p", **changes):
    predictor = MultiModalPredictor(label="kind", path=folder / name, verbosity=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predictor.fit(cells or table(), hyperparameters=given, column_types=TYPES, **changes)
    said = [str(one.message) for one in caught if issubclass(one.category, FitWarning)]
    return predictor, said


def weights(predictor):
    return [p.detach().clone() for p in predictor.exportable().graphs["predict"].parameters()]


@pytest.fixture
def still(tmp_path):
    """Settings without chance: no dropout, so that portions of a batch add up to it."""
    given = settings(tmp_path)
    text = tmp_path / "text" / "config.json"
    config = msgspec.json.decode(text.read_bytes())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    text.write_bytes(msgspec.json.encode(config))
    drops = ("attention_dropout", "residual_dropout", "ffn_dropout")
    given |= {f"model.ft_transformer.{name}": 0.0 for name in drops}
    given |= {"model.fusion_mlp.dropout": 0.0, "model.hf_text.text_trivial_aug_maxscale": 0.0}
    return given | {"model.wide.use": False}  # so that much is left to learn


@pytest.mark.parametrize("changes", [{}, {"optim.class_weights": "balanced"}])
def test_portions_of_a_batch_give_the_gradient_of_the_whole(tmp_path, still, changes):
    # 54 training rows: the last step of an epoch has 6 rows, and is no lighter for it.
    losses = {}
    for portion in (16, 8, 5):
        given = still | {"env.per_gpu_batch_size": portion, **changes}
        predictor, _ = fit(tmp_path, given, name=f"p{portion}")
        losses[portion] = [entry["loss"] for entry in predictor.fit_summary()["history"]]
    assert losses[8] == pytest.approx(losses[16], abs=1e-4)
    assert losses[5] == pytest.approx(losses[16], abs=1e-4)
    assert losses[16][-1] < losses[16][0]


def test_a_batch_that_does_not_fit_is_halved_and_the_result_is_the_same(
    tmp_path, still, monkeypatch
):
    wanted, said = fit(tmp_path, still | {"env.per_gpu_batch_size": 16}, name="wanted")
    assert not [note for note in said if "memory" in note]
    backward = TrainingModule.manual_backward

    def scarce(self, loss, *args, **kwargs):
        if self.data.size_now > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        backward(self, loss, *args, **kwargs)

    monkeypatch.setattr(TrainingModule, "manual_backward", scarce)
    found, said = fit(tmp_path, still | {"env.per_gpu_batch_size": 16}, name="found")
    assert [note.split(":")[0] for note in said if "memory" in note] == [
        "memory ran out at 16 rows at once",
        "memory ran out at 8 rows at once",
    ]
    assert len(found.fit_summary()["notes"]) == 2
    for one, other in zip(weights(wanted), weights(found), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_where_not_one_row_fits_it_says_what_to_lower(tmp_path, still, monkeypatch):
    def none(self, loss, *args, **kwargs):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(TrainingModule, "manual_backward", none)
    with pytest.raises(DataError, match=r"memory runs out at 1 rows at once\. Lower env\.per_gpu"):
        fit(tmp_path, still)


def test_an_error_that_is_none_of_memory_is_not_taken_for_one(tmp_path, still, monkeypatch):
    def broken(self, loss, *args, **kwargs):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(TrainingModule, "manual_backward", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        fit(tmp_path, still)


class Poison:
    """Makes the loss of a row NaN, from a step on."""

    def __init__(self, monkeypatch, row, step):
        self.rows: list[int] = []
        task_loss = module_under_test.TrainingModule.training_step

        def watched(module, step_, batch_idx):
            whole = module.data.batch

            def batch(step__, places):
                found = whole(step__, places)
                chosen = [step__.rows[place] for place in places]
                if step__.number >= step and row in chosen:
                    self.rows = chosen
                    found.targets["soft"] = torch.full((len(places), 3), float("nan"))
                return found

            monkeypatch.setattr(module.data, "batch", batch)
            try:
                return task_loss(module, step_, batch_idx)
            finally:
                monkeypatch.setattr(module.data, "batch", whole)

        monkeypatch.setattr(module_under_test.TrainingModule, "training_step", watched)


def test_a_loss_that_is_not_finite_ends_training_with_what_was_learnt(tmp_path, still, monkeypatch):
    poison = Poison(monkeypatch, row=3, step=6)
    predictor, said = fit(tmp_path, still)
    summary = predictor.fit_summary()
    assert summary["stopped"] == "not_finite"
    (note,) = [note for note in said if "TRAINING STOPPED" in note]
    assert "the loss is nan" in note
    assert "the last good weights are kept" in note
    # Rows are named as the user counts them: validation rows were taken out of the table before.
    named = {int(part) for part in note.split("rows ")[1].split(".")[0].split(", ")}
    assert len(named) == len(poison.rows)
    assert named != set(poison.rows)
    assert max(named) < 60
    answers = predictor.predict_proba(table(9, seed=3))
    assert np.isfinite(answers).all()
    assert all(torch.isfinite(w).all() for w in weights(predictor))
    assert (tmp_path / "p" / "predictor.json").is_file()


def test_a_loss_that_never_was_finite_is_an_error(tmp_path, still, monkeypatch):
    Poison(monkeypatch, row=3, step=0)
    with pytest.raises(DataError, match=r"training, step \d: the loss is nan in a batch of the r"):
        fit(tmp_path, still | {"env.batch_size": 64, "env.per_gpu_batch_size": 64})


def test_gradients_that_are_not_finite_are_not_stepped_by(tmp_path, still, monkeypatch):
    clip = torch.nn.utils.clip_grad_norm_
    calls = []

    def spoilt(parameters, value):
        calls.append(value)
        if len(calls) == 6:
            parameters[0].grad[:] = float("inf")
        return clip(parameters, value)

    monkeypatch.setattr(module_under_test, "clip_grad_norm_", spoilt)
    predictor, said = fit(tmp_path, still)
    assert any("the norm of the gradients is" in note for note in said)
    assert predictor.fit_summary()["stopped"] == "not_finite"
    assert all(torch.isfinite(w).all() for w in weights(predictor))


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_what_learns_no_finite_number_in_its_last_step_says_so(tmp_path, kind):
    draw = np.random.default_rng(0)
    cells = {"weight": draw.normal(size=40).tolist()}
    cells["label"] = draw.choice(["a", "b"], 40).tolist() if kind == "classes" else cells["weight"]
    given = {"optim.lr": 1e30, "optim.max_steps": 1, "model.names": ["numerical_mlp"]}
    predictor = MultiModalPredictor(
        label="label",
        problem_type="binary" if kind == "classes" else "regression",
        path=tmp_path / "p",
        verbosity=0,
    )
    with pytest.raises(DataError, match=r"no finite number\. Lower optim\.lr"):
        predictor.fit(cells, hyperparameters=given | {"env.accelerator": "cpu"})
