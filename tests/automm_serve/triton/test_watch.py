import threading

import pytest

from automm_serve.errors import ServerError
from automm_serve.triton.watch import watch


class Patient:
    """Says these faults, one a question, then stops the watch."""

    def __init__(self, *faults: str, heals: bool = True, bug: bool = False) -> None:
        self.faults = list(faults)
        self.heals = heals
        self.bug = bug
        self.repairs = 0
        self.stop = threading.Event()

    def find_fault(self) -> str:
        fault = self.faults.pop(0)
        if not self.faults:
            self.stop.set()
        return fault

    def repair(self) -> None:
        if self.bug:
            raise ZeroDivisionError
        self.repairs += 1
        if not self.heals:
            raise ServerError(where="Triton", what="it is dead", mend="Bury it")


def watched(patient: Patient, *, pause_s: float = 60.0) -> list[str]:
    said: list[str] = []
    watch(patient, patient.stop, said.append, every_s=0.0, pause_s=pause_s)
    return said


def test_a_healthy_server_is_left_alone():
    patient = Patient("", "", "")
    assert watched(patient) == []
    assert patient.repairs == 0


def test_a_fault_is_said_and_mended():
    patient = Patient("", "the stub died", "")
    assert watched(patient) == [
        "restarting the model, because: the stub died",
        "it answers again",
    ]
    assert patient.repairs == 1


def test_a_fault_that_stays_is_mended_once_in_the_pause_and_said_once():
    patient = Patient("dead", "dead", "dead", "dead", heals=False)
    said = watched(patient, pause_s=60.0)
    assert patient.repairs == 1
    assert len(said) == 3
    assert said[1] == "it still fails: Triton: it is dead. Bury it."
    assert said[2].startswith("it fails again, next repair in")


def test_after_the_pause_it_is_mended_again():
    patient = Patient("dead", "dead", "dead")
    watched(patient, pause_s=0.0)
    assert patient.repairs == 3


def test_a_bug_of_ours_is_not_swallowed():
    patient = Patient("dead", "dead", bug=True)
    with pytest.raises(ZeroDivisionError):
        watched(patient)
