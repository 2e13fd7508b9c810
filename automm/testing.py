"""The contract of an encoder as a function: ours and a stranger's tests call the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor

from automm.models.encoders import EncoderModule
from automm.models.encoders.base import Encoder
from automm_serve.processors import AnyProcessor, Processor
from automm_serve.schema import Column
from automm_serve.tensors import Axis, Table, take_rows

_NEAR: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
"""Batches of other sizes are computed in another order, so float32 differs in its last digits."""


def check_encoder(
    module: EncoderModule, table: Table, columns: Sequence[Column], options: Any = None
) -> None:
    """Fit, build and try an encoder.

    Args:
        module: With ``KINDS``, ``OPTIONS``, ``fit`` and ``build``.
        table: Three rows or more, not all alike.
        columns: Those that the encoder shall read.
        options: Of the type ``OPTIONS``; its defaults where None.

    Raises:
        AssertionError: It breaks the contract; the message says where.
    """
    options = module.OPTIONS() if options is None else options
    assert {column.kind for column in columns} <= set(module.KINDS), "columns are not of its kinds"
    processor = module.fit("probe", table, columns, options)
    document = msgspec.json.encode(processor)
    assert msgspec.json.decode(document, type=AnyProcessor) == processor, "JSON loses state"
    encoder = module.build(processor, options).eval()
    tensors = _transform(processor, table)
    with torch.no_grad():
        features = encoder(tensors)["features"]
        _check_features(encoder, features, len(table[columns[0].name]))
        _check_rows_alone(encoder, processor, table, features)
        _check_inputs_matter(encoder, tensors, features)
        _check_odd_cells(encoder, processor, table, columns)
        _check_export(encoder, processor, tensors)
    _check_training(encoder, tensors)


def _check_features(encoder: Encoder, features: Tensor, rows: int) -> None:
    assert features.shape == (rows, encoder.out_dim), f"features: shape {tuple(features.shape)}"
    assert features.dtype == torch.float32, f"features: {features.dtype}"
    assert list(encoder.blocks), "there are no blocks to freeze or to give rates to"


def _check_rows_alone(
    encoder: Encoder, processor: Processor, table: Table, features: Tensor
) -> None:
    for row in range(features.shape[0]):
        alone = encoder(_transform(processor, take_rows(table, [row])))["features"]
        what = f"row {row} alone has other features than in company"
        torch.testing.assert_close(alone[0], features[row], msg=what, **_NEAR)


def _check_inputs_matter(encoder: Encoder, tensors: dict[str, Tensor], features: Tensor) -> None:
    """The control: an encoder that ignores an input would pass everything else."""
    for name, tensor in tensors.items():
        changed = tensor.roll(1, 0)
        if not torch.equal(changed.nan_to_num(), tensor.nan_to_num()):
            answer = encoder(tensors | {name: changed})["features"]
            assert not torch.equal(answer, features), f"{name} changes nothing"


def _check_odd_cells(
    encoder: Encoder, processor: Processor, table: Table, columns: Sequence[Column]
) -> None:
    rows = len(table[columns[0].name])
    gaps: Table = {column.name: [None] * rows for column in columns}
    unseen = {c.name: ["never seen before"] * rows for c in columns if c.kind == "category"}
    for what, odd in {"gaps": gaps, "unseen categories": {**table, **unseen}}.items():
        answer = encoder(_transform(processor, odd))["features"]
        assert torch.isfinite(answer).all(), f"{what} give features that are not finite"
        if what == "gaps":
            assert torch.allclose(answer, answer[:1], **_NEAR), "rows of nothing but gaps differ"


def _check_export(encoder: Encoder, processor: Processor, tensors: dict[str, Tensor]) -> None:
    """Export with every axis that varies, and run at sizes that were not traced."""
    pair = {name: tensor[:2] for name, tensor in tensors.items()}
    axes: dict[str, Any] = {}
    shapes = {
        spec.name: {
            number: axes.setdefault(size.name, _dim(size))
            for number, size in enumerate(spec.shape)
            if isinstance(size, Axis)
        }
        for spec in processor.specs()
    }
    program = torch.export.export(
        encoder, (), kwargs={"tensors": pair}, dynamic_shapes={"tensors": shapes}, strict=False
    ).module()
    for rows in (1, 3):
        feed = {name: tensor[:rows] for name, tensor in tensors.items()}
        expected = encoder(feed)["features"]
        answer = program(tensors=feed)["features"]
        what = f"exported, {rows} rows: other features"
        torch.testing.assert_close(answer, expected, msg=what, **_NEAR)


def _dim(axis: Axis) -> Any:
    """The axis for ``torch.export``; a backbone has places for so many tokens and no more."""
    return torch.export.Dim(axis.name, min=1, max=axis.sizes[-1] if axis.sizes else 4096)


def _check_training(encoder: Encoder, tensors: dict[str, Tensor]) -> None:
    """Gradients reach the blocks; frozen ones get none, and stay in evaluation."""
    encoder.train()
    encoder(tensors)["features"].square().sum().backward()
    moved = [p for block in encoder.blocks for p in block.parameters() if p.grad is not None]
    assert moved, "no gradient reaches the blocks"
    encoder.freeze(1)
    assert not any(p.requires_grad for p in encoder.blocks[0].parameters()), "freeze does nothing"
    encoder.train()
    assert not encoder.blocks[0].training, "a frozen block is in training mode"


def _transform(processor: Processor, table: Table) -> dict[str, Tensor]:
    """Transform, and see that the tensors are those that the processor names."""
    arrays, errors = processor.transform(table)
    assert not errors, f"cells cannot be read: {errors}"
    for spec in processor.specs():
        array = arrays[spec.name]
        assert spec.name.startswith(f"{processor.name}_"), f"{spec.name}: not the processor's name"
        assert array.dtype == spec.dtype, f"{spec.name}: {array.dtype} is not {spec.dtype}"
        sizes = list(zip(array.shape, spec.shape, strict=True))
        assert all(a == b for a, b in sizes if isinstance(b, int)), f"{spec.name}: {array.shape}"
    return {spec.name: torch.from_numpy(arrays[spec.name]) for spec in processor.specs()}
