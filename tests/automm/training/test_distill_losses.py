import math

import pytest

pytest.importorskip("torch")

import torch

from automm.training.distill_losses import angle_loss, answer_loss, distance_loss, feature_loss


def rows(*cells):
    return torch.tensor(cells, dtype=torch.float32)


def huber(difference):
    return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5


def test_the_divergence_is_that_of_the_textbook():
    # Student 1/4 and 3/4, teacher 1/2 and 1/2.
    student, teacher = rows([0.0, math.log(3)]), rows([7.0, 7.0])
    by_hand = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert float(answer_loss(student, teacher, divergence=True)) == pytest.approx(by_hand, abs=1e-6)
    # At a temperature of 2 the student's odds are the root of 3, and the loss is taken four times.
    ours = 1 / (1 + math.sqrt(3))
    by_hand = 4 * (0.5 * math.log(0.5 / ours) + 0.5 * math.log(0.5 / (1 - ours)))
    found = answer_loss(student, teacher, divergence=True, temperature=2.0)
    assert float(found) == pytest.approx(by_hand, abs=1e-6)


def test_the_divergence_is_a_mean_over_rows_and_does_not_see_a_shift_of_the_logits():
    student, teacher = (
        rows([0.0, 1.0, 2.0], [3.0, 1.0, 0.0]),
        rows([1.0, 1.0, 0.0], [0.0, 2.0, 1.0]),
    )
    each = [answer_loss(student[[i]], teacher[[i]], divergence=True) for i in (0, 1)]
    whole = answer_loss(student, teacher + 5, divergence=True)
    torch.testing.assert_close(whole, (each[0] + each[1]) / 2)
    assert float(answer_loss(teacher, teacher + 5, divergence=True)) == pytest.approx(0, abs=1e-6)


def test_the_gradient_of_the_divergence_does_not_fade_with_the_temperature():
    def slope(temperature):
        student = rows([0.0, 0.5, 0.2]).requires_grad_()
        teacher = rows([0.3, 0.0, 0.1])
        answer_loss(student, teacher, divergence=True, temperature=temperature).backward()
        return float(student.grad.norm())

    assert 0.5 < slope(20.0) / slope(1.0) < 2


def test_the_squared_error_of_answers_knows_no_temperature():
    student, teacher = rows([1.0], [3.0]), rows([2.0], [1.0])
    for temperature in (1.0, 5.0):
        found = answer_loss(student, teacher, divergence=False, temperature=temperature)
        assert float(found) == pytest.approx((1 + 4) / 2)


def test_features_are_compared_by_squares_or_by_direction():
    student, teacher = rows([3.0, 4.0], [1.0, 0.0]), rows([6.0, 8.0], [0.0, 2.0])
    assert float(feature_loss(student, teacher, cosine=False)) == pytest.approx(
        (9 + 16 + 1 + 4) / 4
    )
    assert float(feature_loss(student, teacher, cosine=True)) == pytest.approx((0 + 1) / 2)


def test_distances_are_compared_in_units_of_their_mean():
    # Distances 3, 4 and 1 of mean 8/3; and 1, 2 and 1 of mean 4/3.
    found = distance_loss(rows([0.0], [3.0], [4.0]), rows([5.0], [6.0], [7.0]))
    pairs = [(3 / (8 / 3), 1 / (4 / 3)), (4 / (8 / 3), 2 / (4 / 3)), (1 / (8 / 3), 1 / (4 / 3))]
    assert float(found) == pytest.approx(sum(huber(a - b) for a, b in pairs) / 3, abs=1e-6)


def test_angles_are_compared_at_every_corner_of_every_three_rows():
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(5, 3, generator=generator)
    teacher = torch.randn(5, 7, generator=generator)

    def cosine(x, i, j, k):
        one, other = x[i] - x[j], x[k] - x[j]
        return float(one @ other / (one.norm() * other.norm()))

    each = [
        huber(cosine(student, i, j, k) - cosine(teacher, i, j, k))
        for i in range(5)
        for j in range(5)
        for k in range(5)
        if len({i, j, k}) == 3
    ]
    found = float(angle_loss(student, teacher))
    assert found == pytest.approx(sum(each) / len(each), abs=1e-6)
    assert found > 0.01


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_relations_are_alike_however_features_are_turned_scaled_and_moved(loss):
    generator = torch.Generator().manual_seed(1)
    teacher = torch.randn(6, 4, generator=generator)
    turn, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator))
    assert float(loss(3 * teacher @ turn + 2, teacher)) == pytest.approx(0, abs=1e-6)
    assert float(loss(torch.randn(6, 4, generator=generator), teacher)) > 1e-3


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_few_rows_and_equal_rows_have_a_finite_slope(loss, count):
    student = torch.ones(count, 3, requires_grad=True)
    found = loss(student, torch.zeros(count, 2))
    found.backward()
    assert torch.isfinite(found)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
