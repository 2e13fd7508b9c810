"""The emoji set: 1,906 rows with a picture, keywords, numbers and categories, and 9 groups.

``unpack`` writes it as two CSV files with picture paths, without the columns that give the group
away. What the columns are and where they come from: ``scripts/make_emoji.py``.
"""

from __future__ import annotations

import csv
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ARCHIVE = Path(__file__).parent / "data" / "emoji.zip"
LABEL = "group"
LEFT_OUT = ("name", "short_names", "n_skin_variants", "subgroup")
"""The first two almost name the group, the third is filled for people alone, the last is a finer
label. With any of them, fusing would have nothing left to gain."""

PICTURE = ("image",)
TEXT = ("keywords", "emoticon")
NUMBERS = (
    "unicode_version",
    "n_code_points",
    "n_keywords",
    "au_code",
    "softbank_code",
    "docomo_code",
)
CATEGORIES = ("has_zwj", "presentation", "facebook")
MODALITIES = {"picture": PICTURE, "text": TEXT, "table": (*NUMBERS, *CATEGORIES)}
"""Modality -> its columns."""


class EmojiFiles(NamedTuple):
    """Where the two tables lie; their picture paths are relative to them."""

    train: Path
    test: Path


class Score(NamedTuple):
    """How well the test rows are answered."""

    accuracy: float
    log_loss: float


def unpack(folder: Path) -> EmojiFiles:
    """Write pictures and both tables into a folder, whose content it replaces."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    for part in ("train", "test"):
        _drop(folder / f"{part}.csv", LEFT_OUT)
    return EmojiFiles(folder / "train.csv", folder / "test.csv")


def _drop(path: Path, names: Sequence[str]) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in rows[0] if name not in names]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def score_baselines(files: EmojiFiles) -> Mapping[str, Score]:
    """Score what any model must beat: the shares of the groups, and a linear model.

    The linear model gets what a linear model can use (TF-IDF of one and two words, one-hot
    categories, standardised numbers with gap flags).
    """
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.dummy import DummyClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, log_loss
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    train, test = (
        pd.read_csv(path, keep_default_na=False, na_values={name: [""] for name in NUMBERS})
        for path in files
    )
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    columns = ColumnTransformer(
        [
            *((name, TfidfVectorizer(ngram_range=(1, 2)), name) for name in TEXT[:1]),
            ("categories", OneHotEncoder(handle_unknown="ignore"), list(CATEGORIES)),
            ("numbers", numbers, list(NUMBERS)),
        ]
    )
    # Of 1, 3, 10 and 30, cross-validation on the training rows chose this strength.
    linear = make_pipeline(columns, LogisticRegression(C=3, max_iter=1000))
    models: dict[str, Any] = {
        "trivial": DummyClassifier(strategy="prior"),
        "linear": linear,
    }
    scores = {}
    for name, model in models.items():
        model.fit(train, train[LABEL])
        probabilities = model.predict_proba(test)
        scores[name] = Score(
            float(accuracy_score(test[LABEL], model.predict(test))),
            float(log_loss(test[LABEL], probabilities, labels=model.classes_)),
        )
    return scores
