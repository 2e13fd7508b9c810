import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from automm.data.rows import prepare_rows
from automm.training.rivals import TRIAL_ROWS, fit_linear
from automm_serve.answers import ClassesAnswer, ValuesAnswer
from automm_serve.metrics import score
from automm_serve.schema import Column, Schema
from tests import pets

TEXT = Column("title", "text")
NUMBER = Column("weight", "number")
CATEGORY = Column("kind", "category")
COLUMNS = (TEXT, NUMBER, CATEGORY)


def table(rows, seed=0):
    """The class stands in the text, the number or the category, by turns; gaps occur."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 2, rows)
    words = np.array(["good cheap", "bad dear"])
    found = {
        "title": [f"a {words[y]} thing" if i % 3 == 0 else None for i, y in enumerate(truth)],
        "weight": [float(y) * 5 + 1 if i % 3 == 1 else None for i, y in enumerate(truth)],
        "kind": [["red", "blue"][y] if i % 3 == 2 else None for i, y in enumerate(truth)],
        "photo": [None] * rows,
    }
    return found, truth


def rows_of(cells, answer):
    return prepare_rows("data", cells, (), answer, 0)[0]


def answers(answer, found):
    return answer.decode(found.tensors)


def test_it_reads_texts_numbers_and_categories():
    train, truth = table(300)
    valid, wanted = table(90, seed=1)
    answer = ClassesAnswer("y", ("no", "yes"))
    names = np.array(answer.classes)
    train["y"], valid["y"] = names[truth].tolist(), names[wanted].tolist()
    schema = Schema((*COLUMNS, Column("photo", "image")))
    rival = fit_linear(schema, answer, rows_of(train, answer), rows_of(valid, answer), 60)
    assert rival is not None
    assert rival.rows == 300
    found = score("accuracy", answer, valid["y"], answers(answer, rival))["accuracy"]
    assert found == 1.0


def test_it_answers_numbers_in_the_unit_of_the_label():
    draw = np.random.default_rng(0)
    weights = draw.normal(size=200)
    cells = {"weight": weights.tolist(), "price": (1000 + 50 * weights).tolist()}
    answer = ValuesAnswer.fit("price", cells)
    rows = rows_of(cells, answer)
    rival = fit_linear(Schema((NUMBER,)), answer, rows, rows, 60)
    assert score("r2", answer, cells["price"], answers(answer, rival))["r2"] > 0.99


def test_pictures_alone_have_no_rival():
    cells = {"photo": [pets.picture((1, 1, 1)), pets.picture((2, 2, 2))], "y": ["a", "b"]}
    answer = ClassesAnswer("y", ("a", "b"))
    rows = rows_of(cells, answer)
    assert fit_linear(Schema((Column("photo", "image"),)), answer, rows, rows, 60) is None


def test_where_time_is_short_it_learns_from_fewer_rows():
    train, truth = table(4 * TRIAL_ROWS)
    answer = ClassesAnswer("y", ("no", "yes"))
    train["y"] = np.array(answer.classes)[truth].tolist()
    rows = rows_of(train, answer)
    rival = fit_linear(Schema(COLUMNS), answer, rows, rows, budget_s=0.0)
    assert rival is not None
    assert rival.rows == TRIAL_ROWS


def test_a_class_that_is_rare_has_a_probability_of_its_own():
    answer = ClassesAnswer("y", ("a", "b", "c"))
    cells = {"weight": [1.0, 2.0, 3.0, 4.0], "y": ["a", "c", "a", "c"]}
    rows = rows_of(cells, answer)
    rival = fit_linear(Schema((NUMBER,)), answer, rows, rows, 60)
    assert rival is not None
    assert rival.tensors["probabilities"].shape == (4, 3)
    assert (rival.tensors["probabilities"][:, 1] == 0).all()
