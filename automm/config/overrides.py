"""A user's ``hyperparameters`` -> the configuration changed: dotted keys, near names, types."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from automm.config.autogluon_keys import is_taken
from automm.config.models import EncoderOptions, family_of
from automm.config.schema import Config
from automm_serve.errors import ConfigError, near_name

Hyperparameters: TypeAlias = Mapping[str, object] | Sequence[str] | str | None
"""``{"optim.lr": 1e-4}``, ``["optim.lr=1e-4"]`` or ``"optim.lr=1e-4 env.batch_size=32"``."""

RENAMED = {
    "optimization.learning_rate": "optim.lr",
    "optimization.efficient_finetune": "optim.peft",
    "optim.efficient_finetune": "optim.peft",
    "model.ft_transformer.hidden_size": "model.ft_transformer.token_dim",
    "env.eval_batch_size_ratio": "env.inference_batch_size_ratio",
    "data.label.numerical_label_preprocessing": "data.label.numerical_preprocessing",
    "model.ft_transformer.n_blocks": "model.ft_transformer.num_blocks",
    "model.ft_transformer.attention_n_heads": "model.ft_transformer.attention_num_heads",
    "model.ft_transformer.ffn_d_hidden": "model.ft_transformer.ffn_hidden_size",
    "model.ft_transformer.d_token": "model.ft_transformer.token_dim",
    "model.timm_image.max_img_num_per_col": "model.timm_image.max_image_num_per_column",
    "model.clip.max_img_num_per_col": "model.clip.max_image_num_per_column",
    "model.fusion_mlp.drop_rate": "model.fusion_mlp.dropout",
    "model.fusion_mlp.weight": "model.fusion_mlp.aux_loss_weight",
    "model.fusion_transformer.n_blocks": "model.fusion_transformer.num_blocks",
    "model.fusion_transformer.attention_n_heads": "model.fusion_transformer.attention_num_heads",
    "model.fusion_transformer.ffn_d_hidden": "model.fusion_transformer.ffn_hidden_size",
    "model.fusion_transformer.weight": "model.fusion_transformer.aux_loss_weight",
    "model.numerical_mlp.drop_rate": "model.numerical_mlp.dropout",
    "model.categorical_mlp.drop_rate": "model.categorical_mlp.dropout",
}
"""AutoGluon's names -> ours where they differ, and its names before 1.3; of other
``optimization.*`` keys the stem becomes ``optim``."""

CLIP = ("clip_image", "clip_text")
"""AutoGluon's one model ``clip``, in ``model.names`` and ``model.clip.*``, is these two of ours."""

FAST_DEV_RUN = "env.fast_dev_run"
"""AutoGluon's and Lightning's word for a few steps: ``optim.max_steps`` here."""

READ_BY_NOTHING = frozenset(
    {
        "model.fusion_transformer.hidden_size",
        "model.fusion_transformer.data_types",
        "model.fusion_mlp.data_types",
    }
)
"""Settings of AutoGluon that change nothing there either."""


def override(config: Config, hyperparameters: Hyperparameters) -> Config:
    """Return the configuration with these settings changed.

    Raises:
        ConfigError: A key is unknown (the nearest one is offered) or a value does not fit it.
    """
    for given, value in pairs(hyperparameters):
        if given == FAST_DEV_RUN:
            if value is False or value == 0:
                continue
            given, value = "optim.max_steps", 1 if value is True else value
        meant = _meant(config, given)
        if len(meant) == 1 and is_taken(meant[0], value, keys_of(config)):
            continue
        for key in meant:
            _check_copy(config, given, key, value)
            config = _set(config, key, value)
    return config


def pairs(hyperparameters: Hyperparameters) -> Iterator[tuple[str, object]]:
    """Yield key and value of every form that a user may write; nested dicts are walked."""
    if hyperparameters is None:
        return
    if isinstance(hyperparameters, str):
        hyperparameters = _split(hyperparameters)
    if isinstance(hyperparameters, Mapping):
        for key, value in hyperparameters.items():
            if isinstance(value, Mapping):
                yield from pairs({f"{key}.{inner}": cell for inner, cell in value.items()})
            else:
                yield str(key), _plain(value)
        return
    for item in hyperparameters:
        key, equals, text = str(item).partition("=")
        if not equals:
            raise ConfigError(
                where=f"hyperparameter {item!r}",
                what="it has no '='",
                mend="Write KEY=VALUE, such as optim.lr=1e-4",
            )
        yield key.strip(), _parse(text.strip())


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(
            where=f"hyperparameters {text!r}",
            what=str(error),
            mend="Close the quotation, or pass a list of KEY=VALUE",
        ) from error


def keys_of(config: Config) -> list[str]:
    """Return every key that can be set, such as ``optim.lr``."""
    return list(_leaves(config, ""))


def _leaves(section: msgspec.Struct, stem: str) -> Iterator[str]:
    for field in section.__struct_fields__:
        value = getattr(section, field)
        if isinstance(value, msgspec.Struct):
            yield from _leaves(value, f"{stem}{field}.")
        else:
            yield f"{stem}{field}"


def _meant(config: Config, given: str) -> list[str]:
    """The settings of today that a key stands for."""
    key = today(given)
    head, _, leaf = key.rpartition(".")
    if key in READ_BY_NOTHING:
        return []
    known = keys_of(config)
    name = head.removeprefix("model.")
    if head == "model.clip":
        return [found for part in CLIP if (found := f"model.{part}.{leaf}") in known] or [key]
    family = family_of(name, (*_families(config), "clip"))
    if head.startswith("model.") and family not in (None, name):
        suffix = name.removeprefix(str(family))
        return [_suffixed(meant, suffix) for meant in _meant(config, f"model.{family}.{leaf}")]
    return [key]


def _families(config: Config) -> list[str]:
    """The encoders that have a section; a suffix makes another one with the same settings."""
    model = config.model
    return [f for f in model.__struct_fields__ if isinstance(getattr(model, f), EncoderOptions)]


def _suffixed(key: str, suffix: str) -> str:
    """``model.hf_text.lr_mult`` -> ``model.other.hf_text_a.lr_mult``."""
    _, family, leaf = key.split(".", 2)
    return f"model.other.{family}{suffix}.{leaf}"


def _check_copy(config: Config, given: str, key: str, value: object) -> None:
    """Refuse a setting of a suffixed encoder that its family has not, or that does not fit."""
    name, _, leaf = key.removeprefix("model.other.").partition(".")
    family = family_of(name, _families(config))
    if not key.startswith("model.other.") or family is None:
        return
    common = f"model.{family}.{leaf}"
    if common not in keys_of(config):
        near = near_name(common, keys_of(config))
        raise ConfigError(
            where=f"hyperparameter {given!r}",
            what=f"there is no setting {common!r}" + (f", but there is {near!r}" if near else ""),
            mend=f"Choose one of {', '.join(_neighbours(common, keys_of(config)))}",
        )
    _set(config, common, value)


def _expand(name: object) -> tuple[object, ...]:
    """``clip`` and ``clip_a`` are two encoders each, one of pictures and one of texts."""
    found = family_of(str(name), (*CLIP, "clip"))
    suffix = str(name).removeprefix("clip")
    return tuple(f"{part}{suffix}" for part in CLIP) if found == "clip" else (name,)


def today(key: str) -> str:
    """Return what an old name of AutoGluon, or one that differs, is called here."""
    if key in RENAMED:
        return RENAMED[key]
    head, _, rest = key.partition(".")
    return f"optim.{rest}" if head == "optimization" else key


def _set(config: Config, key: str, value: object) -> Config:
    tree: dict[str, Any] = msgspec.to_builtins(config)
    *path, leaf = key.split(".")
    known = keys_of(config)
    is_other = key.startswith("model.other.") and len(path) == 3
    if key not in known and not is_other:
        near = near_name(key, known)
        raise ConfigError(
            where=f"hyperparameter {key!r}",
            what="there is no such setting" + (f", but there is {near!r}" if near else ""),
            mend=f"Choose one of {', '.join(_neighbours(key, known))}",
        )
    section = tree
    for name in path:
        section = section.setdefault(name, {})
    if isinstance(section.get(leaf), list | tuple) and isinstance(value, str):
        value = [_parse(part) for part in value.strip("[]").split(",") if part]
    if key == "model.names" and isinstance(value, list | tuple):
        value = [part for name in value for part in _expand(name)]
    section[leaf] = str(value) if leaf == "precision" else value
    try:
        return msgspec.convert(tree, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(
            where=f"hyperparameter {key!r}",
            what=f"{value!r} does not fit: {str(error).split(' - at')[0]}",
            mend="Give a value of that kind",
        ) from error


def _neighbours(key: str, known: list[str]) -> list[str]:
    """The settings of the section that the key names, or else the sections."""
    stem = key.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == stem]
    return siblings or sorted({f"{name.rpartition('.')[0]}.*" for name in known})


def _parse(text: str) -> object:
    if text in ("None", "none"):
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return _plain({"True": True, "False": False}.get(text, text))


def _plain(value: object) -> object:
    if value in ("None", "none"):
        return None
    return list(value) if isinstance(value, tuple) else value
