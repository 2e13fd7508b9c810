"""A small tokenizer, small pictures, and a pipeline whose graph is arithmetic of numpy."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from automm_serve.answers import AnyAnswer, ClassesAnswer, EmbeddingAnswer, ValuesAnswer
from automm_serve.pipeline import Pipeline, Program, Step
from automm_serve.predictor import LocalPredictor
from automm_serve.processors import AnyProcessor, ImageProcessor, TabularProcessor, TextProcessor
from automm_serve.processors.image import ImageColumn
from automm_serve.schema import Column, Schema
from automm_serve.tensors import BATCH, Table, Tensors, TensorSpec

_WORDS = "a an the red green blue cup chair lamp old new big small of in on"
WORDS = _WORDS.split()
PAD, UNKNOWN, START, END = 0, 1, 2, 3


def word_tokenizer(words: Sequence[str] = WORDS) -> Tokenizer:
    """One id a word, lower case, ``[CLS] … [SEP]`` around a text."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: code for code, word in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", START), ("[SEP]", END)],
    )
    return tokenizer


def pixels(seed: int = 0, height: int = 24, width: int = 24) -> NDArray[np.uint8]:
    """Noise: any slip of a row, a channel or a pixel shows."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encode(image: Image.Image | NDArray[Any], form: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of a picture file."""
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        buffer, form, **options
    )
    return buffer.getvalue()


def png(seed: int = 0, height: int = 24, width: int = 24) -> bytes:
    """Return a file of ``pixels``."""
    return encode(pixels(seed, height, width))


def base64_of(content: bytes) -> str:
    """Return base64 text."""
    return base64.b64encode(content).decode()


def same(found: Tensors, expected: Tensors) -> None:
    """Hold tensors against each other: names, types, shapes, values; NaN equals NaN."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)


ANY_TEXT = st.text(st.characters(exclude_categories=[]))  # lone surrogates too
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.floats(width=32),
    st.decimals(),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.binary(max_size=8),
    ANY_TEXT,
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.floats(width=32).map(np.float32),
    st.booleans().map(np.bool_),
    st.lists(st.integers(), max_size=2),
)
"""Any cell that a table may hold but a picture; some cannot be read."""

SCHEMA = Schema(
    (
        Column("title", "text", required=True),
        Column("body", "text"),
        Column("price", "number", required=True),
        Column("colour", "category"),
        Column("picture", "image"),
    )
)


def table(rows: int, seed: int = 0) -> dict[str, list[object]]:
    """Rows of all four kinds, of many lengths, with gaps."""
    random = np.random.default_rng(seed)

    def text() -> str:
        return " ".join(random.choice(WORDS, int(random.integers(1, 30))))

    pictures = [png(i, 12, 16) for i in range(4)]
    return {
        "title": [text() for _ in range(rows)],
        "body": [None if random.random() < 0.3 else text() for _ in range(rows)],
        "price": [float(random.integers(-50, 50)) / 4 for _ in range(rows)],
        "colour": [str(random.choice(["red", "green", "blue"])) for _ in range(rows)],
        "picture": [None if random.random() < 0.5 else pictures[i % 4] for i in range(rows)],
    }


def fitted(data: Table) -> tuple[AnyProcessor, ...]:
    """One processor of each kind."""
    return (
        TextProcessor.fit("text", ["title", "body"], word_tokenizer().to_str(), 48),
        TabularProcessor.fit("table", data, ["price"], ["colour"], minimum_cat_count=1),
        ImageProcessor("image", 8, 8, (ImageColumn("picture"),)),
    )


@dataclass
class NumpySession:
    """A graph that is arithmetic; it keeps the shapes that it was fed."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    function: Callable[[Tensors], Tensors]
    shapes: list[dict[str, tuple[int, ...]]] = field(default_factory=list)

    def run(self, feed: Tensors) -> Tensors:
        self.shapes.append({name: tensor.shape for name, tensor in feed.items()})
        return self.function(feed)

    def close(self) -> None:
        self.shapes.clear()


def features(feed: Tensors) -> Tensors:
    """Whole numbers that depend on every input of the row, and on no padding and no neighbour."""
    ids = feed["text_ids"].astype(np.float64) * feed["text_mask"]
    places = np.arange(1, ids.shape[1] + 1)
    made = np.stack(
        [
            (ids * places).sum(axis=1),
            feed["text_mask"].sum(axis=1),
            np.nan_to_num(feed["table_numbers"][:, 0], nan=-99.0) * 4,
            feed["table_categories"][:, 0],
            feed["image_pixels"].astype(np.float64).sum(axis=(1, 2, 3, 4)),
            feed["image_valid"][:, 0],
        ],
        axis=1,
    ).astype(np.float32)
    odd = made.sum(axis=1, dtype=np.float64) % 2 / 2 + 0.25
    return {
        "features": made,
        "values": odd[:, None].astype(np.float32),
        "probabilities": np.stack([1 - odd, odd], axis=1).astype(np.float32),
    }


def sample_session(model: LocalPredictor) -> NumpySession:
    """The session of ``predictor``."""
    session = model.sessions["graph"]
    assert isinstance(session, NumpySession)
    return session


def predictor(
    answer: AnyAnswer | None = None, data: Table | None = None, batch_size: int = 32
) -> LocalPredictor:
    """A predictor over all four kinds of columns."""
    processors = fitted(data or table(40))
    specs = tuple(spec for processor in processors for spec in processor.specs())
    answer = answer or ClassesAnswer("label", ("no", "yes"))
    reads = "values" if isinstance(answer, ValuesAnswer) else "probabilities"
    outputs = (
        TensorSpec("features", "float32", (BATCH, 6)),
        TensorSpec(reads, "float32", (BATCH, 1 if reads == "values" else 2)),
    )
    names = tuple(processor.name for processor in processors)
    steps = (Step("graph"),)
    pipeline = Pipeline(
        "sample",
        "regression" if reads == "values" else "binary",
        SCHEMA,
        processors,
        {
            "predict": Program(names, steps, answer),
            "embed": Program(names, steps, EmbeddingAnswer(6)),
        },
    )
    return LocalPredictor(pipeline, {"graph": NumpySession(specs, outputs, features)}, batch_size)
