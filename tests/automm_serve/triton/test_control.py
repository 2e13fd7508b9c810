"""What the launcher makes of a server's answers."""

import pytest

from automm_serve.errors import ServerError
from automm_serve.triton.control import Control


@pytest.mark.parametrize("answer", [{}, {"outputs": [{"name": "kind"}]}, [1]])
def test_an_answer_without_outputs_is_a_fault_of_the_server(monkeypatch, answer):
    control = Control("127.0.0.1:1", "secret")
    monkeypatch.setattr(control, "ask", lambda *_: answer)
    with pytest.raises(ServerError, match="the answer has no outputs"):
        control.infer("tiny", [b"{}"], "predict", 1.0)
