"""The tolerances, from both sides of each."""

import msgspec
import numpy as np
import pytest

from automm_serve.agreement import LEAST_RELATIVE, RELATIVE, compare_answers, relative_of
from automm_serve.answers import AnyAnswer, ClassesAnswer, EmbeddingAnswer, ValuesAnswer
from automm_serve.bundle import Bundle
from automm_serve.precisions import PrecisionFigures
from automm_serve.tensors import Table
from tests.automm_serve import frozen

CLASSES = ClassesAnswer("kind", ("cat", "dog"))


def classes(label: str, *probabilities: float) -> Table:
    return {"kind": [label], "probabilities": [np.array(probabilities, np.float32)]}


def holds(answer: AnyAnswer, expected: Table, found: Table) -> dict[str, bool]:
    return {
        parity.column: parity.holds
        for parity in compare_answers("onnxruntime", "predict", answer, expected, found)
    }


@pytest.mark.parametrize(("off", "agree"), [(0.9e-5, True), (1.2e-5, False)])
def test_probabilities_may_differ_by_1e_5(off, agree):
    found = holds(CLASSES, classes("cat", 0.75, 0.25), classes("cat", 0.75 + off, 0.25))
    assert found == {"kind": True, "probabilities": agree}


def test_another_class_is_a_difference_even_with_the_same_probabilities():
    assert not holds(CLASSES, classes("cat", 0.75, 0.25), classes("dog", 0.75, 0.25))["kind"]


def test_another_class_is_excused_and_counted_where_the_best_two_tie():
    words, _ = compare_answers(
        "onnxruntime", "predict", CLASSES, classes("cat", 0.5, 0.5), classes("dog", 0.5, 0.5)
    )
    assert words.holds
    assert words.ties == 1


@pytest.mark.parametrize(("off", "agree"), [(0.9e-3, True), (1.2e-3, False)])
def test_values_may_differ_by_1e_5_of_the_labels_deviation(off, agree):
    answer = ValuesAnswer("price", 0.0, 100.0)
    assert holds(answer, {"price": [7.0]}, {"price": [7.0 + off]}) == {"price": agree}


def test_values_may_differ_by_the_grain_of_float32_where_they_are_far_from_zero():
    answer = ValuesAnswer("price", 1e6, 1e-3)
    step = float(np.spacing(np.float32(1e6)))
    assert holds(answer, {"price": [1e6]}, {"price": [1e6 + 4 * step]}) == {"price": True}
    assert holds(answer, {"price": [1e6]}, {"price": [1e6 + 5 * step]}) == {"price": False}


def test_one_bad_row_among_good_ones_of_larger_size_is_found():
    answer = ValuesAnswer("price", 0.0, 1.0)
    expected, found = {"price": [1e8, 1.0]}, {"price": [1e8 + 8, 1.001]}
    (parity,) = compare_answers("triton", "predict", answer, expected, found)
    assert not parity.holds
    assert parity.difference == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("answer", "expected", "found"),
    [
        (CLASSES, classes("cat", 0.9, 0.1), {"kind": [None], "probabilities": [None]}),
        (ValuesAnswer("price", 0.0, 1.0), {"price": [None]}, {"price": [1.0]}),
        (EmbeddingAnswer(2), {"features": [[1.0, 2.0]]}, {"features": [[1.0, float("nan")]]}),
        (EmbeddingAnswer(2), {"features": [[1.0, 2.0]]}, {"features": [[1.0]]}),
    ],
)
def test_a_gap_or_another_width_on_one_side_is_no_agreement(answer, expected, found):
    assert not all(holds(answer, expected, found).values())


def test_rows_that_fail_on_both_sides_agree():
    gaps: Table = {"kind": [None, "cat"], "probabilities": [None, np.array([0.9, 0.1])]}
    assert all(holds(CLASSES, gaps, gaps).values())


@pytest.mark.parametrize(("off", "agree"), [(0.9e-2, True), (1.1e-2, False)])
def test_another_precision_may_differ_by_what_was_measured_of_it(off, agree):
    expected, found = classes("cat", 0.5, 0.5), classes("dog", 0.5 - off, 0.5 + off)
    compared = compare_answers("onnxruntime", "predict", CLASSES, expected, found, 1e-2)
    assert {one.column: one.holds for one in compared} == {"kind": True, "probabilities": agree}
    far = classes("dog", 0.4, 0.6)
    surely = classes("cat", 0.6, 0.4)
    compared = compare_answers("onnxruntime", "predict", CLASSES, surely, far, 1e-2)
    assert not any(one.holds for one in compared)


@pytest.mark.parametrize(("difference", "relative"), [(3e-2, 6e-2), (1e-5, LEAST_RELATIVE)])
def test_what_a_precision_may_differ_by_is_twice_what_was_measured(difference, relative):
    figures = PrecisionFigures({}, {}, "accuracy", 10, 1.0, 1.0, 0.0, 0.0, 0.0, difference, "here")
    manifest = msgspec.structs.replace(
        Bundle.open(frozen.V1).manifest, precisions={"fp16": figures}
    )
    assert relative_of(manifest, "fp16") == relative
    assert relative_of(manifest, "fp32") == RELATIVE
    assert relative_of(manifest, "bf16") == RELATIVE  # nothing is known of it
