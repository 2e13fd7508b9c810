"""The torch session: the module itself, without gradients, in evaluation mode."""

import pytest
import torch

from automm_export.session import TorchSession
from tests.automm_export.test_cases import CASES
from tests.automm_export.tiny import exportable


@pytest.fixture
def graph():
    return exportable().graphs["predict"]


def test_it_runs_in_evaluation_mode_whatever_training_left(graph):
    session = TorchSession(graph, 1)
    graph.train()
    assert set(session.run(CASES.control())) == {"probabilities", "features"}
    assert not graph.training


def test_its_budget_of_threads_holds_in_each_run(graph):
    session = TorchSession(graph, 1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        session.run(CASES.control())
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_closed_session_says_so(graph):
    session = TorchSession(graph)
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.run(CASES.control())
