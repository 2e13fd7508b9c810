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

from automm.config.schema import Config, EncoderOptions
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
    "ft_transformer": "automm.models.encoders.ft_transformer",
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
    """Import an encoder by name.

    Raises:
        ConfigError: The name is neither in ``ENCODERS`` nor an entry point.
        MissingDependencyError: A package that the encoder needs is not installed.
    """
    module = ENCODERS.get(name)
    if module is None:
        others = {point.name: point.value for point in entry_points(group="automm.encoders")}
        module = others.get(name)
        if module is None:
            raise unknown_name("encoder", name, sorted(ENCODERS | others))
    return cast(EncoderModule, require(module, purpose=f"encoder {name!r}"))


def options_of(config: Config, name: str) -> EncoderOptions:
    """Return the settings of an encoder, those of a stranger's out of ``model.other``."""
    own = getattr(config.model, name, None)
    if isinstance(own, EncoderOptions):
        return own
    given = config.model.other.get(name, {})
    try:
        return msgspec.convert(given, find_encoder(name).OPTIONS, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(
            where=f"hyperparameter 'model.other.{name}'", what=str(error), mend="Mend its value"
        ) from error
