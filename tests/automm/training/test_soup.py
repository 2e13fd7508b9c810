import pytest

pytest.importorskip("torch")

import torch

from automm.training import soup
from automm.training.soup import BestStates, average, cook, put_state, take_state


def linear(value):
    model = torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.fill_(value)
    model.bias.requires_grad_(False)
    return model


def offer(best, value, score):
    with torch.no_grad():
        best.model.weight.fill_(value)
    return best.offer(score)


@pytest.mark.parametrize("in_memory", [1 << 30, 0])
def test_the_best_states_are_kept_in_order(in_memory, monkeypatch):
    monkeypatch.setattr(soup, "IN_MEMORY_BYTES", in_memory)
    best = BestStates(linear(0.0), 2, lambda new, old: new > old)
    assert [offer(best, v, s) for v, s in ((1, 0.5), (2, 0.9), (3, 0.1), (4, 0.7))] == [
        True, True, False, False,
    ]  # fmt: skip
    assert best.scores == [0.9, 0.7]
    assert best.load(1)["weight"].tolist() == [[4.0, 4.0]]
    assert "bias" not in best.load(0), "what is frozen is not kept"
    best.close()


@pytest.mark.parametrize(
    ("method", "value", "count"),
    [("best", 1.0, 1), ("greedy_soup", 2.0, 2), ("uniform_soup", 5.0, 3)],
)
def test_a_greedy_soup_takes_in_what_does_no_harm(method, value, count):
    model = linear(0.0)
    best = BestStates(model, 3, lambda new, old: new > old)
    for weight, reached in ((1, 0.9), (3, 0.8), (11, 0.7)):
        offer(best, weight, reached)

    def score():  # the nearer to 2, the better
        return 1 - abs(model.weight[0, 0].item() - 2) / 10

    _, souped = cook(best, method, score)
    assert souped == count
    assert model.weight[0, 0].item() == pytest.approx(value)


def test_counters_are_not_averaged():
    states = [
        {"n": torch.tensor(3), "w": torch.tensor([1.0])},
        {"n": torch.tensor(8), "w": torch.tensor([2.0])},
    ]
    assert average(states)["n"] == 3
    assert average(states)["w"] == 1.5


def test_a_state_comes_back():
    model = linear(1.0)
    state = take_state(model)
    with torch.no_grad():
        model.weight.fill_(7)
    put_state(model, state)
    assert model.weight.tolist() == [[1.0, 1.0]]
