"""Every metric on real answers: the reference library's score, on predictor, bundle and server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("scipy")

from automm.predictor import MultiModalPredictor
from automm_serve.metrics import METRICS
from automm_serve.tensors import Table
from tests.automm_serve.metrics.reference import NUMBERS, of, reference
from tests.real.small import LABEL, Places, emoji_rows, fit, served, settings

pytestmark = [
    pytest.mark.real,
    pytest.mark.triton,
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning"),
]

FEATURES = (
    "unicode_version", "n_code_points", "n_skin_variants", "au_code", "softbank_code", "facebook",
)  # fmt: skip
LABELS = {"binary": "presentation", "multiclass": LABEL, "regression": "n_keywords"}
RANKS = ("roc_auc", "average_precision", "spearmanr")
CASES = [(kind, name) for kind in LABELS for name in of(kind)]


class Scored(NamedTuple):
    """A model everywhere, all test rows, and the scores of every place."""

    places: Places
    test: Table
    scores: list[dict[str, float]]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scored]:
    """Return a model of each problem type; each server answers all metrics and is stopped."""
    return {kind: one for kind in LABELS for one in _score(kind, tmp_path_factory.mktemp(kind))}


def _score(kind: str, folder: Path) -> Iterator[Scored]:
    label = LABELS[kind]
    train, test = emoji_rows((*FEATURES, label), every=4)
    small = settings(folder, model__names=["numerical_mlp", "categorical_mlp", "fusion_mlp"])
    predictor = MultiModalPredictor(
        label=label,
        problem_type=kind,
        path=folder / "predictor",
        hyperparameters=small | {"optim.max_epochs": 4},
        verbosity=0,
    )
    with served(fit(predictor, train), folder / "bundle") as places:
        scores = [place.evaluate(test, metrics=of(kind)) for place in places]
        yield Scored(places, test, scores)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_metric_of_real_answers_is_its_reference_s_everywhere(
    kind: str, name: str, every: dict[str, Scored]
) -> None:
    places, test, scores = every[kind]
    here, bundle, triton = (one[name] for one in scores)
    assert np.isfinite(here)
    assert here == pytest.approx(_expected(kind, name, places.trained, test), rel=1e-9, abs=1e-9)
    # Probabilities differ by rounding, and two rows that are as good as equal may change places.
    nearly = 1e-3 if name.startswith(RANKS) else 1e-5
    for found in (bundle, triton):
        assert found == pytest.approx(here, rel=1e-5, abs=nearly)


def test_every_metric_is_among_them() -> None:
    assert set(METRICS) == {name for _, name in CASES}


def test_answers_are_no_guesses(every: dict[str, Scored]) -> None:
    assert every["multiclass"].scores[0]["balanced_accuracy"] > 1 / 9 + 0.05
    assert every["binary"].scores[0]["roc_auc"] > 0.6
    assert every["regression"].scores[0]["r2"] > 0


def _expected(kind: str, name: str, trained: MultiModalPredictor, test: Table) -> Any:
    truth = test[LABELS[kind]]
    answers = trained.predict(test)
    if kind != "regression":
        classes = trained.class_labels
        assert classes is not None
        codes = {one: code for code, one in enumerate(classes)}
        probabilities = np.asarray(trained.predict_proba(test), np.float64)
        if name.startswith("pac"):  # as AutoGluon's: of float32, what is missing to 1 is put right
            if kind == "binary":
                probabilities[:, 0] = 1 - probabilities[:, 1]
            probabilities /= probabilities.sum(1, keepdims=True)
        return reference(
            name,
            np.array([codes[one] for one in truth]),
            np.array([codes[one] for one in answers]),
            probabilities,
            range(len(classes)),
        )
    import sklearn.metrics as sk
    from scipy import stats

    wanted, found = np.array(truth, np.float64), np.asarray(answers, np.float64)
    if name in NUMBERS:
        return getattr(sk, NUMBERS[name])(wanted, found)
    if name in ("pearsonr", "spearmanr"):
        return getattr(stats, name)(wanted, found)[0]
    assert name in ("smape", "symmetric_mean_absolute_percentage_error")
    return np.mean(np.abs(wanted - found) / (np.abs(wanted) + np.abs(found)))
