"""Schema and training rows -> the fitted processors, one for each encoder that has columns."""

from __future__ import annotations

import msgspec

from automm.config.data import DataConfig
from automm.config.models import family_of
from automm.config.schema import Config, EncoderOptions
from automm.models.encoders import ENCODERS, find_encoder, options_of
from automm.models.fusion import FUSIONS
from automm_serve.errors import ConfigError
from automm_serve.processors import AnyProcessor, TextProcessor
from automm_serve.processors.text import Wording
from automm_serve.schema import Schema
from automm_serve.tensors import Table

_DATA_TYPES = {
    "image": "image",
    "text": "text",
    "categorical": "category",
    "numerical": "number",
}
"""AutoGluon's word in ``data_types`` -> kind of column."""


def fit_processors(schema: Schema, table: Table, config: Config) -> tuple[AnyProcessor, ...]:
    """Fit a processor for each of ``model.names`` whose kinds of column the schema has.

    Raises:
        ConfigError: A column is read by no encoder, two encoders have one name, or settings are
            of an encoder that is not named.
    """
    _check_names(config)
    wordings = _wordings(schema, config.data)
    columns = [
        msgspec.structs.replace(column, kind="text") if column.name in wordings else column
        for column in schema.columns
    ]
    processors: list[AnyProcessor] = []
    unread = {column.name: column.kind for column in columns}
    for name in config.model.names:
        if name in FUSIONS:
            continue
        encoder = find_encoder(name)
        options = options_of(config, name)
        kinds = _kinds(name, encoder.KINDS, options)
        read = [column for column in columns if column.kind in kinds]
        lacks = set(kinds) - {column.kind for column in read}
        if read and not (lacks and getattr(options, "requires_all_dtypes", False)):
            processor = encoder.fit(name, table, read, options)
            processors.append(_worded(processor, wordings))
            for column in read:
                unread.pop(column.name, None)
    if unread:
        raise ConfigError(
            where="hyperparameter 'model.names'",
            what=f"no model of {', '.join(config.model.names)} reads {unread}",
            mend="Name a model that does, or set those columns to 'null' in column_types",
        )
    return tuple(processors)


def _kinds(name: str, known: tuple[str, ...], options: EncoderOptions) -> tuple[str, ...]:
    """The kinds of column that an encoder is to read, of those that it can read."""
    if options.data_types is None:
        return known
    asked = {_DATA_TYPES[one] for one in options.data_types}
    if not asked or asked - set(known):
        can = ", ".join(one for one, kind in _DATA_TYPES.items() if kind in known)
        raise ConfigError(
            where=f"hyperparameter 'model.{name}.data_types'",
            what=f"{', '.join(options.data_types) or 'nothing'} is not what it reads",
            mend=f"Give one or more of {can}",
        )
    return tuple(kind for kind in known if kind in asked)


def _wordings(schema: Schema, data: DataConfig) -> dict[str, Wording]:
    """How the columns are put into words that are to be read as text."""
    found: dict[str, Wording] = {}
    for column in schema.columns:
        if column.kind == "category" and data.categorical.convert_to_text:
            template = data.categorical.convert_to_text_template
            found[column.name] = Wording(column.name, "category", template)
        if column.kind == "number" and data.numerical.convert_to_text:
            found[column.name] = Wording(column.name, "number")
    return found


def _worded(processor: AnyProcessor, wordings: dict[str, Wording]) -> AnyProcessor:
    """Let a processor of text know which of its columns are none; its encoder need not know."""
    if not isinstance(processor, TextProcessor):
        return processor
    own = tuple(wordings[name] for name in processor.columns if name in wordings)
    return msgspec.structs.replace(processor, wordings=own)


def _check_names(config: Config) -> None:
    names = config.model.names
    twins = {name for name in names if names.count(name) > 1}
    if twins:
        raise ConfigError(
            where="hyperparameter 'model.names'",
            what=f"{min(twins)!r} stands there twice",
            mend=f"Tell them apart by a suffix: {min(twins)}_a, {min(twins)}_b",
        )
    for name in config.model.other:
        if name not in names and name not in ENCODERS and family_of(name, ENCODERS):
            raise ConfigError(
                where=f"hyperparameter 'model.{name}.*'",
                what=f"model.names has no {name!r}",
                mend=f"Name it there, beside {', '.join(names)}",
            )
