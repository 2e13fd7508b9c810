"""Encoders turn the tensors of one processor into features of shape (batch, out_dim).

To add one: write its file here with what ``EncoderModule`` lists, name it in ``ENCODERS``;
``tests/contracts`` then checks it. Other distributions offer theirs by the entry-point group
``automm.encoders``; their settings are ``model.other.<name>.*``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from automm.config.models import TabularOptions, family_of
from automm.config.schema import Config, DataConfig, EncoderOptions
from automm_serve.errors import ConfigError, unknown_name
from automm_serve.optional import require
from automm_serve.processors import AnyProcessor
from automm_serve.schema import Column
from automm_serve.tensors import Table

if TYPE_CHECKING:  # torch is named here, and imported only with an encoder
    from automm.models.encoders.base import Encoder

ENCODERS = {
    "timm_image": "automm.models.encoders.timm_image",
    "hf_text": "automm.models.encoders.hf_text",
    "clip_image": "automm.models.encoders.clip_image",
    "clip_text": "automm.models.encoders.clip_text",
    "ft_transformer": "automm.models.encoders.ft_transformer",
    "numerical_mlp": "automm.models.encoders.numerical_mlp",
    "categorical_mlp": "automm.models.encoders.categorical_mlp",
}
"""Name -> module. Not imported here, so that one modality does not load another's packages."""


class EncoderModule(Protocol):
    """What an encoder's file offers.

    Attributes:
        KINDS: Kinds of column that it reads.
        OPTIONS: Struct of its settings, a subclass of ``EncoderOptions``.
    """

    KINDS: tuple[str, ...]
    OPTIONS: type[EncoderOptions]

    def fit(self, name: str, table: Table, columns: Sequence[Column], options: Any) -> AnyProcessor:
        """Fit the processor whose tensors the encoder will read."""
        ...

    def build(self, processor: Any, options: Any) -> Encoder:
        """Build the encoder for a fitted processor."""
        ...


def find_encoder(name: str) -> EncoderModule:
    """Import an encoder by name, which may have a suffix: ``hf_text_a`` is an ``hf_text``.

    Raises:
        ConfigError: The name is neither in ``ENCODERS`` nor an entry point.
        MissingDependencyError: A package that the encoder needs is not installed.
    """
    family = family_of(name, ENCODERS)
    if family is not None:
        module = ENCODERS[family]
    else:
        others = {point.name: point.value for point in entry_points(group="automm.encoders")}
        family = family_of(name, others)
        if family is None:
            raise unknown_name("encoder", name, sorted(ENCODERS | others))
        module = others[family]
    return cast(EncoderModule, require(module, purpose=f"encoder {name!r}"))


def options_of(config: Config, name: str) -> EncoderOptions:
    """Return the settings of an encoder: its family's, with those of its own suffix on top.

    Those of a stranger's encoder and of suffixes stand in ``model.other``.

    Raises:
        ConfigError: They do not fit.
    """
    other = config.model.other
    family = family_of(name, ENCODERS)
    if family is not None:
        common = getattr(config.model, family)
        given, kind = msgspec.to_builtins(common), type(common)
    else:
        family = family_of(name, [key for key in other if key != name])
        given, kind = dict(other.get(family or name, {})), find_encoder(name).OPTIONS
    given |= other.get(name, {})
    try:
        options = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(
            where=f"hyperparameter 'model.other.{name}'", what=str(error), mend="Mend its value"
        ) from error
    return _filled(options, config.data)


def _filled(options: EncoderOptions, data: DataConfig) -> EncoderOptions:
    """Settings of table columns that are left open are those of the section ``data``."""
    if not isinstance(options, TabularOptions):
        return options
    said = {
        "minimum_cat_count": data.categorical.minimum_cat_count,
        "maximum_num_cat": data.categorical.maximum_num_cat,
        "scaler_with_mean": data.numerical.scaler_with_mean,
        "scaler_with_std": data.numerical.scaler_with_std,
    }
    left = {name: value for name, value in said.items() if getattr(options, name) is None}
    return msgspec.structs.replace(options, **left)
