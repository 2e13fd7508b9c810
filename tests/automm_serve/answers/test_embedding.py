from __future__ import annotations

from typing import Any

import numpy as np

from automm_serve.answers import EmbeddingAnswer


def test_a_row_has_its_vector():
    features = np.arange(6, dtype=np.float32).reshape(2, 3)
    found: list[Any] = EmbeddingAnswer(3).decode({"features": features})["features"]
    np.testing.assert_array_equal(np.stack(found), features)


def test_the_column_says_how_long_its_vectors_are():
    [column] = EmbeddingAnswer(3).columns
    assert (column.name, column.kind, column.width) == ("features", "vector", 3)


def test_features_have_no_label_to_learn_from():
    assert EmbeddingAnswer(3).encode({"label": [1]}, {}) == ({}, [])
