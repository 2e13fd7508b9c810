"""A model so small that it exports in seconds: two texts, two pictures, numbers, a category.

    from tests.automm_export.tiny import export_tiny

    bundle = export_tiny(tmp_path / "bundle")                  # a whole bundle, about 5 s
    other = export_tiny(tmp_path / "other", seed=1)            # the same columns, other answers
    numbers = export_tiny(tmp_path / "price", label="values")  # regression

``rows()`` is a table that it answers. Nothing is trained: weights are drawn from a formula and not
from a generator, so that the bytes of the graph are the same on every machine.

    python -m tests.automm_export.tiny OUT [seed]              # the same from a shell
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn

from automm_export.export import Exportable, ExportOptions, export
from automm_export.graph import Graph
from automm_serve.answers import AnyAnswer, ClassesAnswer, EmbeddingAnswer, ValuesAnswer
from automm_serve.pipeline import Pipeline, Program, Step
from automm_serve.processors import (
    AnyProcessor,
    ImageProcessor,
    TabularProcessor,
    TextProcessor,
)
from automm_serve.schema import Column, Schema
from automm_serve.tensors import BATCH, TensorSpec

WORDS = "a red green blue cat dog sat on the mat very old new small large".split()  # noqa: SIM905
PARTS = ("image", "text", "tabular")
WIDTH = 4
_COLUMNS = {
    "image": (Column("front", "image"), Column("back", "image")),
    "text": (Column("title", "text", required=True), Column("body", "text")),
    "tabular": (Column("age", "number"), Column("size", "number"), Column("colour", "category")),
}


class TinyGraph(Graph):
    """Mean of token embeddings, mean of pixels, linear on numbers; joined by one layer."""

    def __init__(self, fitted: Sequence[AnyProcessor], answer: AnyAnswer, seed: int = 0) -> None:
        super().__init__()
        self.inputs = tuple(spec for processor in fitted for spec in processor.specs())
        name = answer.reads[0]
        out = len(answer.classes) if isinstance(answer, ClassesAnswer) else 1
        self.outputs = (
            TensorSpec(name, "float32", (BATCH, out)),
            TensorSpec("features", "float32", (BATCH, WIDTH * len(fitted))),
        )
        self._answer = answer
        self._names = [processor.name for processor in fitted]
        self.words = nn.Embedding(64, WIDTH)
        self.positions = nn.Embedding(64, WIDTH)
        self.pixels = nn.Linear(3, WIDTH)
        self.numbers = nn.Linear(2, WIDTH)
        self.colours = nn.Embedding(8, WIDTH)
        self.head = nn.Linear(WIDTH * len(fitted), out)
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                steps = torch.arange(parameter.numel(), dtype=torch.float64)
                wave = torch.sin(steps * 0.7 + number + 10 * seed) * 0.5
                parameter.copy_(wave.reshape(parameter.shape).float())

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Encode what there is, join it, and answer."""
        encoders = {"image": self._image, "text": self._text, "tabular": self._tabular}
        features = torch.cat([encoders[name](tensors) for name in self._names], dim=1)
        logits = self.head(features)
        if isinstance(self._answer, ValuesAnswer):
            found = logits * self._answer.deviation + self._answer.mean
        else:
            found = torch.softmax(logits, dim=1)
        return {self.outputs[0].name: found, "features": features}

    def _image(self, tensors: dict[str, Tensor]) -> Tensor:
        pixels = tensors["image_pixels"].float() / 255
        valid = tensors["image_valid"]
        slots = torch.arange(1, valid.shape[1] + 1, dtype=torch.float32)  # front is not back
        each = self.pixels(pixels.mean(dim=(2, 3))) * slots[:, None]
        total: Tensor = (each * valid[:, :, None]).sum(1)
        return total / valid.sum(1, keepdim=True).clamp(min=1)

    def _text(self, tensors: dict[str, Tensor]) -> Tensor:
        ids, mask = tensors["text_ids"], tensors["text_mask"].float()
        places = torch.arange(ids.shape[1])
        each = torch.tanh(self.words(ids) + self.positions(places))
        total: Tensor = (each * mask[:, :, None]).sum(1)
        return total / mask.sum(1, keepdim=True)

    def _tabular(self, tensors: dict[str, Tensor]) -> Tensor:
        numbers = tensors["tabular_numbers"]
        filled = torch.where(torch.isnan(numbers), torch.zeros_like(numbers), numbers / 50)
        colours = self.colours(tensors["tabular_categories"][:, 0])
        return torch.tanh(self.numbers(filled) + colours)


def rows(count: int = 12) -> dict[str, list[object]]:
    """A table of the columns, with gaps, several pictures a cell and unseen categories."""
    pictures = [_picture(shade) for shade in (40, 90, 160)]
    texts = ["the red cat sat", "a very old dog " * 9, None, "large"]
    return {
        "front": [[None, pictures[0], pictures[:2]][i % 3] for i in range(count)],
        "back": [pictures[2] if i % 4 == 0 else None for i in range(count)],
        "title": [f"{WORDS[i % 15]} mat" for i in range(count)],
        "body": [texts[i % 4] for i in range(count)],
        "age": [None if i % 5 == 2 else 20.0 + 3 * i for i in range(count)],
        "size": [float(i % 7) for i in range(count)],
        "colour": [["red", "blue", None, "unseen"][i % 4] for i in range(count)],
    }


def exportable(
    seed: int = 0, label: str = "classes", parts: Sequence[str] = PARTS, name: str = "tiny"
) -> Exportable:
    """The model, as a trained predictor would hand it over.

    Args:
        seed: Other seeds answer otherwise.
        label: ``"classes"`` or ``"values"``.
        parts: Kinds of columns that it reads, of ``PARTS``.
        name: On Triton.
    """
    table = rows()
    columns = tuple(column for part in PARTS if part in parts for column in _COLUMNS[part])
    fitted = tuple(_fit(part, table) for part in PARTS if part in parts)
    answer: AnyAnswer = (
        ClassesAnswer("kind", ("cat", "dog", "mouse"))
        if label == "classes"
        else ValuesAnswer("price", 100.0, 20.0)
    )
    graph = TinyGraph(fitted, answer, seed)
    names, steps = tuple(p.name for p in fitted), (Step("predict"),)
    programs = {
        "predict": Program(names, steps, answer),
        "embed": Program(names, steps, EmbeddingAnswer(WIDTH * len(fitted))),
    }
    problem_type = "multiclass" if label == "classes" else "regression"
    pipeline = Pipeline(name, problem_type, Schema(columns), fitted, programs)
    return Exportable(pipeline, {"predict": graph}, table, table)


def export_tiny(
    out: Path, seed: int = 0, label: str = "classes", options: ExportOptions | None = None
) -> Path:
    """Write a bundle to ``out`` and return the path."""
    export(exportable(seed, label), out, options)
    return out


def _fit(part: str, table: dict[str, list[object]]) -> AnyProcessor:
    names = [column.name for column in _COLUMNS[part]]
    if part == "image":
        return ImageProcessor.fit("image", table, names, 8, 8)
    if part == "text":
        return TextProcessor.fit("text", names, _tokenizer().to_str(), 48)
    return TabularProcessor.fit("tabular", table, names[:2], names[2:])


def _tokenizer() -> Tokenizer:
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def _picture(shade: int) -> bytes:
    pixels = np.full((6, 9, 3), shade, np.uint8)
    pixels[:3, :, 0] = 255 - shade
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    export_tiny(Path(sys.argv[1]), seed=int("".join(sys.argv[2:]) or 0))
