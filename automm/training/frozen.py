"""Frozen blocks say the same of a row in every epoch and validation: here they are asked once.

What they say is kept beside the row's other tensors, and is put in the place of their work while
the model trains. Rows that are changed at random before the model sees them are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from automm.data.rows import Rows
from automm.models.encoders.base import Encoder
from automm.models.fused import FusedModel
from automm.training.augment import Augmentation
from automm.training.memory import free, is_out_of_memory
from automm_serve.processors import AnyProcessor
from automm_serve.tensors import BATCH, Axis, TensorSpec

AT_ONCE = 16
"""Rows: of 64 pictures the first blocks' values would be the largest need of memory of a fit."""

SHARE_OF_TIME = 0.25
"""Of the time that is left: where asking takes longer than that, it is left out."""

_SAME = 1e-4
"""Largest difference of the features, as a share of their scale, that is taken for rounding."""


@contextmanager
def asked_once(
    model: FusedModel,
    train: Rows,
    valid: Rows,
    augmentation: Augmentation,
    *,
    device: torch.device,
    most_bytes: int,
    deadline: float | None = None,
) -> Iterator[None]:
    """Let frozen blocks be asked once for the block.

    An encoder whose blocks do not simply hand on one tensor, or whose answers would need too much
    memory or time, works as ever.

    Args:
        model: About to be trained; which of its weights are frozen is settled.
        train: Rows to learn from.
        valid: Rows to choose by.
        augmentation: What is done to training rows.
        device: To ask on; the model is back on the CPU afterwards.
        most_bytes: For what is kept, of both tables.
        deadline: On the monotonic clock; None for none.
    """
    with ExitStack() as stack:
        for processor in train.processors:
            encoder = model.encoders[processor.name]
            assert isinstance(encoder, Encoder)
            tables = [valid] if augmentation.changes(processor.name) else [train, valid]
            last = _last_frozen(encoder)
            if last is None:
                continue
            encoder.to(device)
            shortcut = _Shortcut(encoder, last, processor)
            try:
                kept = shortcut.ask(tables, most_bytes, deadline)
            finally:
                encoder.to("cpu")
            if kept:
                most_bytes -= kept
                for rows in tables:  # they live on for as long as somebody refers to the fit
                    stack.callback(rows.drop, shortcut.key)
                stack.enter_context(shortcut.taken())
        yield


class _Shortcut:
    """The way past the frozen blocks of an encoder.

    Attributes:
        key: Name of the tensor that is kept.
    """

    def __init__(self, encoder: Encoder, last: int, processor: AnyProcessor) -> None:
        self.encoder = encoder
        self.passed = list(encoder.blocks[: last + 1])
        self.processor = processor
        self.key = f"{processor.name}_frozen"
        self._said: Tensor | None = None
        self._layout = torch.contiguous_format

    def ask(self, tables: Sequence[Rows], most_bytes: int, deadline: float | None) -> int:
        """Keep in each table what the blocks say of its rows; return its bytes, 0 if none is."""
        found: list[tuple[Rows, Any, TensorSpec]] = []
        for rows in tables:
            one = self._answers(rows, most_bytes, deadline)
            if one is None or not self._agrees(rows, *one):
                return 0
            most_bytes -= one[0].nbytes
            found.append((rows, *one))
        for rows, said, spec in found:
            rows.keep(spec, said)
        return sum(said.nbytes for _, said, _ in found)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Put what is kept in the place of the blocks' work, where a batch brings it."""
        encoder: nn.Module = self.encoder  # as a module: one whose ``forward`` may be replaced
        changed = [encoder, *self.passed]
        before = {module: module.forward for module in changed}

        def encode(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            self._said = tensors.get(self.key)
            try:
                found: dict[str, Tensor] = before[encoder](tensors)
                return found
            finally:
                self._said = None

        def pass_by(module: nn.Module) -> Any:
            def forward(*inputs: Any, **more: Any) -> Any:
                said = self._said
                if said is None:
                    return before[module](*inputs, **more)
                return said.flatten(0, 1).contiguous(memory_format=self._layout)

            return forward

        try:
            for module in self.passed:
                module.forward = pass_by(module)
            encoder.forward = encode
            yield
        finally:
            for module in changed:
                del module.forward  # what the class says shows again

    def _answers(
        self, rows: Rows, most_bytes: int, deadline: float | None
    ) -> tuple[np.ndarray[Any, np.dtype[np.float32]], TensorSpec] | None:
        """What the blocks say of all rows, float32 (rows, parts of a row, ...)."""
        order = np.argsort(rows.lengths, kind="stable")[::-1].tolist()  # the longest sets the shape
        kept: np.ndarray[Any, np.dtype[np.float32]] | None = None
        spec: TensorSpec | None = None
        begun = monotonic()
        for start in range(0, len(order), AT_ONCE):
            chosen = order[start : start + AT_ONCE]
            tensors = rows.batch(chosen).tensors
            said = self._run(tensors)
            if said is None:
                return None
            if kept is None or spec is None:
                if said[0].nbytes * len(rows) > most_bytes:
                    return None
                spec = self._spec(tensors, said)
                kept = np.zeros((len(rows), *said.shape[1:]), np.float32)
            window = tuple(slice(size) for size in said.shape[1:])
            kept[(chosen, *window)] = said.numpy()
            if deadline is not None:
                spent = monotonic() - begun
                expected = spent * len(order) / (start + len(chosen))
                if expected > SHARE_OF_TIME * (deadline - begun):
                    return None
        return None if kept is None or spec is None else (kept, spec)

    def _run(self, tensors: dict[str, Tensor]) -> Tensor | None:
        """What the last frozen block says, float32 (rows, parts, ...); None if none can be kept."""

        def stop(module: nn.Module, inputs: Any, output: object) -> None:
            raise _ReachedError(output)

        output: object = None
        device = next(self.encoder.parameters()).device
        mode = self.encoder.training
        self.encoder.eval()
        handle = self.passed[-1].register_forward_hook(stop)
        try:
            # With gradients, so that the output says whether anything before it trains.
            with torch.enable_grad():
                self.encoder({name: tensor.to(device) for name, tensor in tensors.items()})
        except _ReachedError as reached:
            output = reached.output
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        finally:
            handle.remove()
            self.encoder.train(mode)
        if not isinstance(output, Tensor):
            free()  # where memory ran out
            return None
        count = len(next(iter(tensors.values())))
        if output.requires_grad or output.dtype != torch.float32 or len(output) % count:
            return None
        # Channels last is how pictures come in, and in which a CPU convolves twice as fast.
        last = output.dim() == 4 and output.is_contiguous(memory_format=torch.channels_last)
        self._layout = torch.channels_last if last else torch.contiguous_format
        return output.cpu().reshape(count, -1, *output.shape[1:])

    def _spec(self, tensors: dict[str, Tensor], said: Tensor) -> TensorSpec:
        """Which axis varies with the length of the texts: the one that is as long as they are."""
        axes = {
            axis: tensors[spec.name].shape[place]
            for spec in self.processor.specs()
            for place, axis in enumerate(spec.shape)
            if isinstance(axis, Axis) and axis != BATCH
        }
        shape: list[int | Axis] = [BATCH, *said.shape[1:]]
        for axis, length in axes.items():
            if len(shape) > 3 and shape[2] == length:  # a state for each token
                shape[2] = axis
        return TensorSpec(self.key, "float32", tuple(shape))

    def _agrees(
        self, rows: Rows, said: np.ndarray[Any, np.dtype[np.float32]], spec: TensorSpec
    ) -> bool:
        """The shortest and the longest rows have the features that they have without it."""
        order = np.argsort(rows.lengths, kind="stable").tolist()
        chosen = sorted({*order[:4], *order[-4:]})
        tensors = rows.batch(chosen).tensors
        device = next(self.encoder.parameters()).device
        feed = {name: tensor.to(device) for name, tensor in tensors.items()}
        kept = rows.cut(spec, said[chosen], chosen)
        mode = self.encoder.training
        self.encoder.eval()
        try:
            with torch.no_grad():
                plain = self.encoder(feed)["features"]
                with self.taken():
                    short = self.encoder({**feed, self.key: torch.from_numpy(kept).to(device)})
        except RuntimeError:  # a shape that the blocks behind do not take
            return False
        finally:
            self.encoder.train(mode)
        scale = float(plain.abs().max().clamp(min=1))
        return float((plain - short["features"]).abs().max()) <= _SAME * scale


class _ReachedError(Exception):
    """The last frozen block has spoken; the rest of the forward pass is not needed."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output


def _last_frozen(encoder: Encoder) -> int | None:
    """Position of the last of the leading blocks that do not train; None where none is run.

    A batch norm that goes on counting is no fixed function, and neither is what lies before it.
    """
    last = None
    for place, block in enumerate(encoder.blocks):
        if any(parameter.requires_grad for parameter in block.parameters()):
            break
        if any(module.training for module in block.modules()):
            break
        if not isinstance(block, nn.ModuleList):  # a list of parts, which nobody calls
            last = place
    return last
