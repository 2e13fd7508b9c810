"""The page of a fit: what it says, that it fetches and runs nothing, and what it costs."""

import math
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from automm.data.column import ColumnReason
from automm.report.html import Facts, write_report
from automm.report.html.charts import bars, lines, reliability, scatter
from automm.report.html.evidence import Evidence, gather
from automm.report.html.markup import Markup, el, join
from automm.report.html.page import build_page
from automm.report.html.slices import slice_rows
from automm_serve.answers import ClassesAnswer, ValuesAnswer
from automm_serve.predicts import Predictions
from automm_serve.tensors import CellError, Table
from tests.pets import picture

BAD = "<script>alert('x')</script><img src=x onerror=alert(1)>\u202e\x00"
KINDS = {BAD: "category", "photo": "image", "words": "text"}
CLASSES = ClassesAnswer(f"label {BAD}", (BAD, "dog"))


class Reader(HTMLParser):
    """What a browser would take for tags, attributes and text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def run(table):
    """Answers the first class where there is a picture, and fails where words lack."""
    rows = len(table["words"])
    sure = [0.9 if cell else 0.2 for cell in table["photo"]]
    names = [CLASSES.classes[0] if p > 0.5 else CLASSES.classes[1] for p in sure]
    columns: dict[str, list[Any]] = {
        CLASSES.label: names,
        CLASSES.probabilities_column: [np.array([p, 1 - p], np.float32) for p in sure],
    }
    lacking = [row for row in range(rows) if table["words"][row] is None]
    for row in lacking:
        columns[CLASSES.label][row] = columns[CLASSES.probabilities_column][row] = None
    return Predictions(columns, [CellError(row, "words", "missing") for row in lacking], [])


def rows(count=40):
    return {
        BAD: [BAD if row % 2 else None for row in range(count)],
        "photo": [picture((200, 0, 0)) if row % 3 else None for row in range(count)],
        "words": [BAD * 20 if row else None for row in range(count)],
        CLASSES.label: [CLASSES.classes[row % 2] for row in range(count)],
    }


def facts(**changes):
    given: dict[str, Any] = {
        "problem_type": "binary",
        "metric": "accuracy",
        "greater_is_better": True,
        "score": 0.8,
        "trivial": 0.5,
        "linear": 0.7,
        "advice": "",
        "scores": {"accuracy": 0.8, "log_loss": 0.3},
        "history": [
            {"epoch": 1.0, "accuracy": 0.6, "loss": 0.9},
            {"epoch": 2.0, "accuracy": math.nan, "loss": math.nan},
            {"epoch": 3.0, "accuracy": 0.8, "loss": 0.2},
        ],
        "seconds": {"train": 2.0, "all": 3.5},
        "counts": {"training rows": 100, "weights": 12},
        "reasons": [
            ColumnReason(BAD, "category", BAD, BAD, BAD, {"rows": 40, "missing": 3}, BAD),
            ColumnReason("id", None, "", "key", "every value differs", {"rows": 40}),
        ],
        "notes": [BAD],
        "kinds": KINDS,
        "made_by": BAD,
        "stopped": BAD,
    }
    return Facts(**given | changes)


@pytest.fixture
def evidence():
    return gather(run, CLASSES, rows())


def page(evidence, **changes):
    return build_page(facts(**changes), evidence, {"model": {BAD: BAD}})


def test_what_comes_from_data_never_becomes_markup(evidence):
    read = Reader(page(evidence))
    assert "script" not in read.tags
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    sources = [value for name, value in read.attributes if name in ("src", "href")]
    assert sources
    assert all(value.startswith("data:image/jpeg;base64,") for value in sources)
    assert "<script>alert('x')</script>" in read.text  # it is shown, as text
    assert "\x00" not in read.text
    assert "\u202e" not in read.text


@given(st.text())
def test_any_text_is_shown_as_text(text):
    read = Reader(el("p", text, title=text))
    assert read.tags == ["p"]
    assert len(read.attributes) == 1


@given(st.text(alphabet="onclick=\"'<>& /srcjavascript:"))
def test_no_text_leaves_its_attribute(text):
    assert [name for name, _ in Reader(el("td", class_=text)).attributes] == ["class"]


def test_a_page_has_no_scripts_by_construction():
    with pytest.raises(ValueError, match="'onload'"):
        el("p", onload="x")
    with pytest.raises(ValueError, match="is no tag"):
        el("p onload=x")
    assert join(["<b>", Markup("<b>")]) == "&lt;b&gt;<b>"


def test_the_page_fetches_nothing(evidence):
    text = page(evidence)
    policies = [value for name, value in Reader(text).attributes if name == "content"]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in policies
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    assert "prefers-color-scheme: dark" in text


def test_the_comparison_with_the_rivals_comes_first(evidence):
    text = Reader(page(evidence)).text
    places = [text.index(word) for word in ("trivial", "linear model", "this predictor")]
    assert places == sorted(places)
    assert places[-1] < text.index("The data, as it was understood")
    assert "better than both rivals" in text
    without = Reader(page(evidence, linear=None)).text
    assert "there is no linear model" in without
    advised = Reader(page(evidence, advice="No: train longer.")).text
    assert "No: train longer." in advised
    assert "better than" not in advised


def test_rows_without_an_answer_are_counted_and_left_out(evidence):
    assert (evidence.rows, evidence.left_out, evidence.of) == (39, 1, 40)
    assert "1 have no answer or no label" in Reader(page(evidence)).text


def test_the_worst_rows_come_first_with_their_pictures(evidence):
    text = page(evidence)
    worst = int(np.argmax(evidence.cost))
    assert evidence.cost[worst] == pytest.approx(-math.log(0.1), rel=1e-5)
    assert text.count("<article>") == 12
    assert text.count("data:image/jpeg") > 4


def test_the_confusion_matrix_counts_rows(evidence):
    text = Reader(page(evidence)).text
    found = np.zeros((2, 2), int)
    np.add.at(found, (evidence.truth, evidence.prediction), 1)
    assert f"dog ({found[1].sum()})" in text


def test_slices_are_the_rows_of_a_category_and_those_that_lack_a_column(evidence):
    found = {(one.column, one.value): one for one in slice_rows(evidence, KINDS, "accuracy")}
    there, missing = found["photo", "there"], found["photo", "missing"]
    assert there.rows + missing.rows == evidence.rows
    photo = np.array([cell is not None for cell in evidence.table["photo"]])
    right = evidence.truth == evidence.prediction
    assert there.score == pytest.approx(right[photo].mean())
    assert missing.score == pytest.approx(right[~photo].mean())
    assert found[BAD, "missing"].rows == 19  # the first row has no answer
    assert "words" not in {column for column, _ in found}  # no gap is left in it
    few = gather(run, CLASSES, rows(8))
    assert slice_rows(few, {"photo": "image"}, "accuracy")[0].score is None


def test_a_sample_is_spread_over_the_table_and_stops_when_the_time_is_over():
    asked = []

    def slow(table):
        asked.append(len(table["words"]))
        return run(table)

    found = gather(slow, CLASSES, rows(1000), most=300, budget_s=0.0)
    assert len(asked) == 1
    assert found.rows <= 64
    assert found.of == 1000
    whole = gather(run, CLASSES, rows(300), most=100)
    assert whole.rows + whole.left_out == 100


def test_numbers_get_a_drawing_of_truth_and_answer():
    answer = ValuesAnswer("price", 0.0, 1.0)
    table: Table = {"a": [1, 2, 3], "price": [1.0, None, 3.0]}

    def double(asked):
        return Predictions({"price": [2.0 * cell for cell in asked["a"]]}, [], [])

    found = gather(double, answer, table)
    assert isinstance(found, Evidence)
    assert found.cost.tolist() == [1.0, 3.0]
    text = build_page(
        facts(problem_type="regression", metric="mae", kinds={"a": "number"}, history=[],
              greater_is_better=False),
        found, {},
    )  # fmt: skip
    read = Reader(text)
    assert "Truth and answer" in read.text
    assert "less is better" in read.text
    assert text.count('class="point"') == 2


@pytest.mark.parametrize(
    "values", [[0.5], [0.0, 0.0], [math.nan, 1.0], [1e308, -1e308], [-3.0, 2.0], [math.inf, 1.0]]
)
def test_charts_bear_any_numbers(values):
    named = [(str(i), value, "x") for i, value in enumerate(values)]
    drawn = bars(named, ours="0") + lines([("a", list(enumerate(values)))], "x", "y")
    assert "nan" not in drawn.lower()
    known = np.array([v for v in values if math.isfinite(v)])
    assert "nan" not in scatter(known, known, "x", "y").lower()


def test_the_page_is_one_file_written_whole(evidence, tmp_path):
    path = write_report(tmp_path / "new" / "report.html", facts(), evidence, {})
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    assert path.read_text().startswith("<!doctype html>\n<html")
    assert path.stat().st_size < 300_000


def test_a_page_of_classes_shows_how_sure_answers_are_and_what_was_fitted():
    from automm.training.calibrate import Decision, Temperature

    evidence = gather(run, replace(CLASSES, threshold=0.25), rows())
    warm = Temperature(
        value=1.5, rows=300, log_loss_before=0.7, log_loss_after=0.6, ece_before=0.2, ece_after=0.1
    )
    late = Decision(threshold=0.25, metric="f1", rows=300, before=0.4, after=0.5)
    page = Reader(build_page(facts(temperature=warm, decision=late), evidence, {}))
    assert "How sure it is" in page.text
    assert "Temperature 1.5, fitted on 300 validation rows: log-loss 0.7 to 0.6" in page.text
    assert "dog is answered from 0.25 on: f1 0.4 to 0.5" in page.text
    changed = gather(run, replace(CLASSES, threshold=0.75), rows())
    page = Reader(build_page(facts(temperature=warm, decision=late), changed, {}))
    assert "dog is answered from 0.75 on." in page.text
    assert "% sure, " in page.text
    assert "script" not in page.tags


def test_the_dots_of_a_reliability_diagram_lie_in_it_and_grow_with_their_rows():
    drawn = Reader(reliability([(0.55, 0.0, 1), (1.0, 1.0, 400)], "how sure", "right"))
    radii = [float(value) for name, value in drawn.attributes if name == "r"]
    assert radii == [3.5, 12.0]
    places = [float(value) for name, value in drawn.attributes if name in ("cx", "cy")]
    assert all(0 < place < 640 for place in places)
