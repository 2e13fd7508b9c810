import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from automm.config.data import MixupOptions
from automm.config.distiller import DistillerConfig
from automm.tasks.base import Batch
from automm.training.augment_mix import draw, mix
from automm.training.distill import Distiller, Lesson, check_options, scale_between
from automm_serve.answers import ClassesAnswer, ValuesAnswer
from automm_serve.errors import ConfigError
from automm_serve.processors import ImageProcessor
from tests.pets import pets

EVERY = DistillerConfig(
    softmax_regression_weight=1.0, rkd_distance_loss_weight=1.0, rkd_angle_loss_weight=1.0
)


def lesson(width=6, classes=3):
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(5, width, generator=generator)
    weight = torch.randn(classes, width, generator=generator)
    bias = torch.randn(classes, generator=generator)
    logits = features @ weight.T + bias
    return Lesson(logits.numpy(), features.numpy(), weight, bias, [])


def said(found):
    return {name: torch.from_numpy(getattr(found, name)) for name in ("logits", "features")}


def test_classes_are_told_by_their_names():
    theirs = ClassesAnswer("kind", ("dog", "bird", "cat"))
    ours = ClassesAnswer("kind", ("bird", "cat", "dog"))
    assert scale_between(theirs, ours).order == [1, 2, 0]
    # A file without types spells the same classes in words.
    typed, words = ClassesAnswer("n", (2, 10)), ClassesAnswer("n", ("10", "2"))
    assert scale_between(typed, words).order == [1, 0]


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        (("bird", "cat", "cow"), r"does not know 'cow'; no row is 'dog'"),
        (("bird", "cat"), r"no row is 'dog'"),
        (("bird", "cat", "cow", "dog"), r"does not know 'cow'\."),
    ],
)
def test_other_classes_are_named(classes, says):
    theirs = ClassesAnswer("kind", ("dog", "bird", "cat"))
    with pytest.raises(ConfigError, match=says):
        scale_between(theirs, ClassesAnswer("kind", classes))
    with pytest.raises(ConfigError, match="another kind of question"):
        scale_between(theirs, ValuesAnswer("kind", 0.0, 1.0))


def test_numbers_are_brought_from_one_scale_to_the_other():
    theirs, ours = ValuesAnswer("price", 100.0, 20.0), ValuesAnswer("price", 50.0, 10.0)
    scale = scale_between(theirs, ours)
    for logit in (-1.5, 0.0, 2.0):
        price = logit * theirs.deviation + theirs.mean
        assert (logit * scale.factor + scale.shift) * ours.deviation + ours.mean == price


@pytest.mark.parametrize(("width", "projects"), [(6, False), (4, True)])
def test_gradients_flow_to_the_student_and_the_projection_alone(width, projects):
    found = lesson()
    distiller = Distiller(EVERY, width, found, is_classes=True)
    names = [name for name, _ in distiller.named_parameters()]
    assert names == (["project.weight", "project.bias"] if projects else [])
    student = {
        "logits": torch.zeros(5, 3, requires_grad=True),
        "features": torch.randn(5, width, requires_grad=True),
    }
    teacher = said(found)
    losses = distiller(student, teacher)
    assert set(losses) == {
        "soft_label", "softmax_regression", "output_feature", "rkd_distance", "rkd_angle",
    }  # fmt: skip
    before = {name: tensor.clone() for name, tensor in distiller.named_buffers()}
    torch.stack(list(losses.values())).sum().backward()
    for moved in (*student.values(), *distiller.parameters()):
        assert moved.grad is not None
        assert moved.grad.abs().sum() > 0
    assert not any(tensor.requires_grad for tensor in (*teacher.values(), *distiller.buffers()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in distiller.named_buffers())


def test_the_teachers_own_answers_and_features_lose_nothing():
    found = lesson()
    losses = Distiller(EVERY, 6, found, is_classes=True)(said(found), said(found))
    assert {name: float(loss) for name, loss in losses.items()} == pytest.approx(
        dict.fromkeys(losses, 0.0), abs=1e-5
    )


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({}, {"soft_label", "output_feature"}),
        ({"output_feature_loss_weight": 0.0}, {"soft_label"}),
        ({"soft_label_weight": 0.0, "rkd_angle_loss_weight": 2.0}, {"output_feature", "rkd_angle"}),
    ],
)
def test_what_weighs_nothing_is_not_computed(weights, expected):
    found = lesson()
    options = DistillerConfig(**weights)
    teacher = said(found) if options.reads_features else {"logits": said(found)["logits"]}
    student = {"logits": torch.ones(5, 3), "features": torch.ones(5, 4)}
    assert set(Distiller(options, 4, found, is_classes=True)(student, teacher)) == expected


def test_softmax_regression_reads_the_students_features_by_the_teachers_head():
    found = lesson()
    options = DistillerConfig(
        soft_label_weight=0.0, output_feature_loss_weight=0.0, softmax_regression_weight=2.0
    )
    student = {"logits": torch.zeros(5, 3), "features": torch.ones(5, 6)}
    losses = Distiller(options, 6, found, is_classes=True)(student, said(found))
    logits = torch.ones(5, 6) @ found.weight.T + found.bias
    wanted = 2 * ((logits - said(found)["logits"]) ** 2).mean()
    assert float(losses["softmax_regression"]) == pytest.approx(float(wanted), rel=1e-5)


def test_an_empty_type_goes_by_the_label():
    numbers = lesson(classes=1)
    student = {"logits": torch.zeros(5, 1), "features": torch.zeros(5, 6)}
    options = DistillerConfig(output_feature_loss_weight=0.0)
    found = Distiller(options, 6, numbers, is_classes=False)(student, said(numbers))
    assert float(found["soft_label"]) == pytest.approx(float(np.square(numbers.logits).mean()))
    classes = lesson()
    student["logits"] = torch.zeros(5, 3)
    flat = torch.full((5, 3), math.log(1 / 3))
    theirs = (said(classes)["logits"] / 5).log_softmax(dim=1)
    wanted = 25 * (theirs.exp() * (theirs - flat)).sum(dim=1).mean()
    found = Distiller(options, 6, classes, is_classes=True)(student, said(classes))
    assert float(found["soft_label"]) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "is_classes", "says"),
    [
        (DistillerConfig(soft_label_weight=0, output_feature_loss_weight=0), True, "is 0"),
        (DistillerConfig(soft_label_loss_type="cross_entropy"), False, "holds numbers"),
        (DistillerConfig(softmax_regression_loss_type="cross_entropy"), False, "holds numbers"),
    ],
)
def test_settings_that_leave_nothing_to_learn_are_refused(options, is_classes, says):
    with pytest.raises(ConfigError, match=says):
        check_options(options, is_classes=is_classes)


def test_what_a_teacher_said_is_mixed_by_the_shares_of_the_classes():
    image = ImageProcessor.fit("image", pets(3), ["photo"], 20, 20)
    options = MixupOptions(turn_on=True, cutmix_alpha=0.0, mode="elem", label_smoothing=0.0)
    teacher = {"logits": torch.tensor([[0.0, 3.0], [1.0, 1.0], [6.0, 2.0]])}
    batch = Batch(
        {"image_pixels": torch.zeros(3, 1, 20, 20, 3), "image_valid": torch.ones(3, 1)},
        {"classes": torch.tensor([0, 1, 0])},
        teacher,
    )

    def chances():
        return [np.random.default_rng(seed) for seed in range(3)]

    found = mix(batch, [image], 2, options, chances())
    shares = [mixing.share for mixing in draw(options, chances())]
    assert 0.01 < shares[0] < 0.99
    wanted = shares[0] * teacher["logits"][0] + (1 - shares[0]) * teacher["logits"][2]
    torch.testing.assert_close(found.teacher["logits"][0], wanted)
