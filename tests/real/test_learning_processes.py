"""Two processes over gloo learn from real texts and a table what one does; theirs is served."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("torch")

from automm.predictor import MultiModalPredictor
from tests.automm.training.running import start, write_script
from tests.real.learning import SMALL, TABLE, Served, check_everywhere, emoji_rows, losses, towers

pytestmark = [pytest.mark.real, pytest.mark.triton]

TRAIN, TEST = emoji_rows(("keywords", *TABLE))

BODY = """
predictor = MultiModalPredictor(label="group", path=given["path"], verbosity=0)
predictor.fit(given["data"], hyperparameters=given["settings"])
"""


def without_chance(folder: Path) -> dict[str, Any]:
    """Settings without dropout: the processes draw other numbers than one alone."""
    given = {**SMALL, **towers(folder), "env.per_gpu_batch_size": 8}
    file = folder / "BERT" / "config.json"
    config = msgspec.json.decode(file.read_bytes())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    file.write_bytes(msgspec.json.encode(config))
    drops = ("attention_dropout", "residual_dropout", "ffn_dropout")
    given |= {f"model.ft_transformer.{name}": 0.0 for name in drops}
    given |= {"model.hf_text.text_trivial_aug_maxscale": 0.0, "model.fusion_mlp.dropout": 0.0}
    return given | {"model.names": ["hf_text", "ft_transformer", "fusion_mlp"]}


def begin(folder: Path, settings: dict[str, Any], processes: int) -> subprocess.Popen[str]:
    place = folder / str(processes)
    place.mkdir()
    given = settings | {"env.num_gpus": processes, "env.strategy": "ddp"}
    script = write_script(place, BODY, path=str(place / "p"), data=TRAIN, settings=given)
    return start(script, GLOO_SOCKET_IFNAME="lo", MASTER_ADDR="127.0.0.1")


def test_two_processes_learn_what_one_does_and_the_result_is_served(tmp_path: Path) -> None:
    settings = without_chance(tmp_path)
    for processes in (1, 2):
        run = begin(tmp_path, settings, processes)
        try:
            said = run.communicate(timeout=200)[0]
        finally:
            run.kill()
        assert run.returncode == 0, said
    one, two = (
        MultiModalPredictor.load(tmp_path / str(number) / "p", verbosity=0) for number in (1, 2)
    )
    assert losses(two) == pytest.approx(losses(one), abs=1e-4)
    assert losses(one)[0] - losses(one)[-1] > 1e-2, "the control: nothing was learnt"
    found = two.predict_proba(TEST)
    assert found == pytest.approx(one.predict_proba(TEST), abs=1e-3)
    with Served() as served:
        check_everywhere(two, TEST, served, tmp_path / "b")
