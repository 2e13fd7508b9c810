"""What to do about memory: tell that it has run out, and recompute instead of keeping."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from automm.config.schema import Config
from automm.models.encoders import options_of
from automm.models.fused import FusedModel
from automm_serve.errors import ConfigError

_SAYS = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error of torch means that memory has run out, on a GPU or on a CPU."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _SAYS)


def free() -> None:
    """Give back what torch keeps for itself."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def checkpointing(model: FusedModel, config: Config) -> Iterator[None]:
    """Recompute the blocks' inner values in the backward pass, in the encoders that ask for it.

    It holds in the block alone: a graph that is exported must not know of it.

    Raises:
        ConfigError: The backbone cannot do it.
    """
    wanted = [
        (name, _switch(name, encoder))
        for name, encoder in model.encoders.items()
        if getattr(options_of(config, name), "gradient_checkpointing", False)
    ]
    for _, switch in wanted:
        switch(True)
    try:
        yield
    finally:
        for _, switch in wanted:
            switch(False)


def _switch(name: str, encoder: nn.Module) -> Any:
    backbone: Any = getattr(encoder, "model", None)
    if getattr(backbone, "supports_gradient_checkpointing", False):  # transformers

        def switch(on: bool) -> None:
            # Version 5 of transformers has a new name for it, and warns of the old one.
            new = hasattr(backbone, "activation_checkpointing_enable")
            stem = "activation" if new else "gradient"
            if on:
                getattr(backbone, f"{stem}_checkpointing_enable")({"use_reentrant": False})
            else:
                getattr(backbone, f"{stem}_checkpointing_disable")()

        return switch
    if hasattr(backbone, "set_grad_checkpointing"):  # timm
        return backbone.set_grad_checkpointing
    raise ConfigError(
        where=f"hyperparameter 'model.{name}.gradient_checkpointing'",
        what=f"{type(backbone).__name__} cannot recompute its blocks",
        mend="Leave the setting out",
    )
