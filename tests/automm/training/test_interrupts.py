import json
import signal
import threading
import warnings

import numpy as np
import pytest

pytest.importorskip("torch")

from automm.predictor import MultiModalPredictor
from automm.training.interrupts import Interrupts
from tests.automm.training.running import TYPES, output, settings, start, table, write_script

# Says when it has validated twice, and goes on.
BODY = """
from automm.training.watch import Watch
validate, count = Watch._validate, []
def told(self, *arguments):
    found = validate(self, *arguments)
    count.append(1)
    if len(count) == 2:
        print("ready", flush=True)
    return found
Watch._validate = told
predictor = MultiModalPredictor(label="kind", path=given["path"], verbosity=0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    predictor.fit(given["data"], hyperparameters=given["settings"], column_types=given["types"])
print(json.dumps([str(one.message) for one in caught]))
print("after the fit")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_and_the_best_so_far_is_saved(tmp_path, number):
    cells = table()
    rows = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    given = settings(tmp_path, optim__max_epochs=2000, optim__patience=9999)
    path = tmp_path / "p"
    script = write_script(
        tmp_path, BODY, path=str(path), data=str(data), settings=given, types=TYPES
    )
    process = start(script)
    assert process.stdout is not None
    try:
        while "ready" not in (line := output(process).readline()):
            assert line, "the fit ended by itself"
        process.send_signal(number)
        rest = process.communicate(timeout=120)[0]
    finally:
        process.kill()
    assert process.returncode == 0, rest
    assert "after the fit" in rest
    assert f"INTERRUPTED by {number.name}: the best state so far is kept" in rest
    predictor = MultiModalPredictor.load(path, verbosity=0)
    assert predictor.fit_summary()["stopped"] == "interrupted"
    assert np.isfinite(predictor.predict_proba(table(6))).all()
    # It can go on as well, and then takes the place of what was saved.
    assert (path / "resume" / "state.json").is_file()
    resumed = MultiModalPredictor.load(path, resume=True, verbosity=0)
    done = len(predictor.fit_summary()["history"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resumed.fit(data, time_limit=1)
    assert resumed.fit_summary()["stopped"] == "time_limit"
    assert len(resumed.fit_summary()["history"]) >= done - 1
    assert not (path / "resume").exists()


def test_it_listens_only_while_it_is_asked_to():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.heard == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_ctrl_c_is_raised():
    with Interrupts():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_it_is_taken_back_after_another_took_its_place():
    with Interrupts() as interrupts:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        interrupts.listen()
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.heard == "SIGTERM"


def test_in_another_thread_it_hears_nothing_and_does_no_harm():
    found = []

    def run():
        with Interrupts() as interrupts:
            interrupts.listen()
            found.append(interrupts.heard)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [None]
