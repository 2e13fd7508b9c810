"""The real sets of the comparison, cut so that one fit takes a minute or two on one core."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

TRAIN_ROWS, TEST_ROWS = 500, 1000
CUT_SEED = 7


class RealSet(NamedTuple):
    """A set as both sides are given it.

    Attributes:
        file: Below the data folder.
        label: Column to predict.
        problem_type: As both call it.
        metric: To compare by.
        kinds: Column -> ``image``, ``text``, ``number`` or ``category``.
        make_label: Makes the label of the table, where the file has it otherwise.
    """

    file: str
    label: str
    problem_type: str
    metric: str
    kinds: dict[str, str]
    make_label: Callable[[pd.DataFrame], Any] | None = None


def _kinds(**columns: str) -> dict[str, str]:
    return {name: kind for kind, names in columns.items() for name in names.split()}


SETS: dict[str, RealSet] = {
    "ames_housing": RealSet(
        "ames_housing",
        "log_price",
        "regression",
        "r2",
        {},
        lambda frame: np.log(frame["sale_price"].astype(float)),
    ),
    "spambase": RealSet("spambase", "label", "binary", "roc_auc", {}),
    "nyc_jobs": RealSet(
        "nyc_jobs",
        "salary_from",
        "regression",
        "r2",
        _kinds(
            text="business_title civil_service_title division",
            number="n_positions post_until_days",
            category="agency posting_type level full_time title_code",
        ),
    ),
    "airbnb_nyc": RealSet(
        "airbnb_nyc",
        "log_price",
        "regression",
        "r2",
        _kinds(
            text="name",
            number="latitude longitude minimum_nights number_of_reviews reviews_per_month "
            "calculated_host_listings_count availability_365 last_review_days",
            category="neighbourhood_group neighbourhood room_type",
        ),
    ),
    "magnetic_tile": RealSet(
        "magnetic_tile", "label", "multiclass", "accuracy", _kinds(image="image")
    ),
    "fashion_mnist": RealSet(
        "fashion_mnist", "label", "multiclass", "accuracy", _kinds(image="image")
    ),
    "houses": RealSet(
        "houses",
        "log_price",
        "regression",
        "r2",
        _kinds(
            image="frontal",
            number="n_bedrooms n_bathrooms area",
            category="zipcode",
        ),
        lambda frame: np.log(frame["price"].astype(float)),
    ),
    "ag_news": RealSet("ag_news", "label", "multiclass", "accuracy", _kinds(text="title text")),
    "emoji": RealSet(
        "emoji",
        "group",
        "multiclass",
        "accuracy",
        _kinds(
            image="image",
            text="keywords emoticon",
            number="unicode_version n_code_points n_keywords au_code softbank_code docomo_code",
            category="has_zwj presentation facebook",
        ),
    ),
}
"""Name -> set. Every mix of modalities occurs."""

NOT_FEATURES = {"ames_housing": ("sale_price",)}


def cut(
    name: str, data: Path, out: Path, train_rows: int = TRAIN_ROWS
) -> tuple[Path, Path, dict[str, str]]:
    """Write the rows of a set as two Parquet files, the same at every call.

    Args:
        name: Of the set.
        data: Folder with the files of the sets.
        out: Folder to write into.
        train_rows: Most rows to learn from.

    Returns:
        Training rows, test rows, and column -> kind.
    """
    chosen = SETS[name]
    frame = pd.read_parquet(data / f"{chosen.file}.parquet")
    if chosen.make_label is not None:
        frame[chosen.label] = chosen.make_label(frame)
    out.mkdir(parents=True, exist_ok=True)
    left_out = {"split", chosen.label, *NOT_FEATURES.get(name, ())}
    kinds = chosen.kinds or {
        column: "number" if pd.api.types.is_numeric_dtype(frame[column]) else "category"
        for column in frame.columns
        if column not in left_out
    }
    paths = []
    for split, most in (("train", train_rows), ("test", TEST_ROWS)):
        part = frame.loc[frame["split"] == split, [*kinds, chosen.label]]
        if len(part) > most:
            part = part.sample(most, random_state=CUT_SEED)
        path = out / f"{split}.parquet"
        part.reset_index(drop=True).to_parquet(path)
        paths.append(path)
    return paths[0], paths[1], kinds
