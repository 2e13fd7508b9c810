"""What the encoders of Hugging Face have in common: loading, tokenizers, blocks, describing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from torch import nn

from automm.models.encoders.checkpoints import find_local, from_hub
from automm.models.encoders.sentencepiece_messages import replace_unreadable_messages
from automm.models.encoders.torchvision_stub import declare_missing_operators
from automm_serve.errors import ConfigError
from automm_serve.processors.text import TextProcessor
from automm_serve.schema import Column

declare_missing_operators()  # without them transformers cannot import its own models

from transformers import AutoTokenizer, PretrainedConfig, PreTrainedModel  # noqa: E402
from transformers.utils import logging  # noqa: E402

_UNBOUNDED = 1_000_000  # tokenizers without a limit of their own say 1e30
_OFFSET_FAMILIES = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"})
_AFTER = frozenset(
    {"final_layer_norm", "final_norm", "ln_f", "norm", "post_layernorm"}
    | {"text_projection", "visual_projection"}
)


class TextOptions(Protocol):
    """The settings that make a text processor."""

    @property
    def checkpoint_name(self) -> str: ...  # noqa: D102
    @property
    def max_text_len(self) -> int: ...  # noqa: D102
    @property
    def insert_sep(self) -> bool: ...  # noqa: D102


def load(loader: Any, name: str) -> Any:
    """Load from a local folder, a package or the hub, in this order and without a bar.

    Args:
        loader: A ``from_pretrained`` of transformers.
        name: Of the checkpoint.

    Raises:
        ConfigError: It is not to be had, or damaged.
    """
    local = find_local(name)
    with _quietly():
        if local is None:
            return from_hub(name, lambda only_local: loader(name, local_files_only=only_local))
        try:
            return loader(local, local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(
                where=f"checkpoint {name!r}",
                what=f"it cannot be loaded: {str(error).strip().splitlines()[0]}",
                mend="Pass a folder that transformers' save_pretrained wrote",
            ) from error


def make_model(kind: Any, config: PretrainedConfig, name: str, *, pretrained: bool) -> Any:
    """Make a backbone: pretrained, or the architecture alone.

    Args:
        kind: Class of transformers, an ``Auto…`` one too.
        config: Of the backbone.
        name: Of the checkpoint.
        pretrained: Load the weights; parts that the class has not are left where they are.

    Raises:
        ConfigError: The checkpoint is not to be had, or lacks weights of the backbone.
    """
    # Eager attention makes the smaller ONNX graph; there is nothing to gain from others here.
    if not pretrained:
        make = getattr(kind, "from_config", None) or kind._from_config
        return make(config, attn_implementation="eager").float()
    loader = partial(
        kind.from_pretrained, config=config, attn_implementation="eager", output_loading_info=True
    )
    model, found = load(loader, name)
    # A pooler is a head over the first token that nothing here reads.
    missing = sorted(key for key in found["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ConfigError(
            where=f"checkpoint {name!r}",
            what=f"it lacks {len(missing)} weights of a {type(model).__name__}: {missing[0]} …",
            mend="Pass a checkpoint of that architecture",
        )
    return model.float()


def fit_text(
    name: str, columns: Sequence[Column], options: TextOptions, config: PretrainedConfig
) -> TextProcessor:
    """Take the tokenizer of a checkpoint, and the limit that its backbone sets.

    Args:
        name: Of the processor.
        columns: Columns of text.
        options: Of the encoder.
        config: Of the backbone.

    Raises:
        ConfigError: The tokenizer is written in Python alone, or not to be had.
    """
    replace_unreadable_messages()
    tokenizer: Any = load(AutoTokenizer.from_pretrained, options.checkpoint_name)
    if not tokenizer.is_fast:
        raise ConfigError(
            where=f"checkpoint {options.checkpoint_name!r}",
            what="its tokenizer cannot be written as a tokenizer.json",
            mend="Choose a checkpoint with a fast tokenizer",
        )
    return TextProcessor.fit(
        name,
        [column.name for column in columns],
        tokenizer.backend_tokenizer.to_str(),
        _limit(options.max_text_len, tokenizer.model_max_length, config),
        insert_sep=options.insert_sep,
    )


def blocks_of(backbone: PreTrainedModel, count: int) -> list[nn.Module]:
    """Return what comes before the layers, then the layers, what follows with the last of them.

    Args:
        backbone: Any model of transformers.
        count: Of its layers; a backbone without so many in a row is one block.
    """
    lists = (module for module in backbone.modules() if isinstance(module, nn.ModuleList))
    layers = next((module for module in lists if len(module) == count), None)
    if layers is None:
        return [backbone]
    outside = dict(_outside(backbone, layers))
    before = [module for name, module in outside.items() if name.rpartition(".")[2] not in _AFTER]
    after = [module for name, module in outside.items() if name.rpartition(".")[2] in _AFTER]
    *lower, last = layers
    return [nn.ModuleList(before), *lower, nn.ModuleList([last, *after]) if after else last]


def describe(config: PretrainedConfig) -> dict[str, Any]:
    """Return what a ``config.json`` must hold to make the same architecture anew."""
    described: dict[str, Any] = config.to_dict()
    described.pop("_name_or_path", None)  # a path of the training machine
    described.pop("dtype", None)
    return described


def _outside(
    module: nn.Module, layers: nn.Module, stem: str = ""
) -> Iterator[tuple[str, nn.Module]]:
    """The largest parts with weights that neither hold the layers nor lie in them."""
    for name, child in module.named_children():
        if child is layers or not list(child.parameters()):
            continue
        if any(part is layers for part in child.modules()):
            yield from _outside(child, layers, f"{stem}{name}.")
        else:
            yield f"{stem}{name}", child


def _limit(wanted: int, of_tokenizer: int, config: PretrainedConfig) -> int:
    """The least of what is wanted, what the tokenizer takes, what the backbone has places for."""
    limit = min(wanted, of_tokenizer) if of_tokenizer < _UNBOUNDED else wanted
    positions = getattr(config, "max_position_embeddings", None)
    if positions and positions > 0:
        # These count their places from behind the padding's id.
        offset = (config.pad_token_id or 0) + 1 if config.model_type in _OFFSET_FAMILIES else 0
        limit = min(limit, positions - offset)
    return limit


@contextmanager
def _quietly() -> Iterator[None]:
    """Load in silence: there is a bar of our own, and what is left over is left on purpose."""
    api: Any = logging  # untyped in transformers
    shown, level = api.is_progress_bar_enabled(), api.get_verbosity()
    api.disable_progress_bar()
    api.set_verbosity_error()
    try:
        yield
    finally:
        api.set_verbosity(level)
        if shown:
            api.enable_progress_bar()
