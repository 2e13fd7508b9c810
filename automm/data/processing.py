"""Schema and training rows -> the fitted processors, one for each encoder that has columns."""

from __future__ import annotations

from automm.config.schema import Config
from automm.models.encoders import find_encoder, options_of
from automm.models.fusion import FUSIONS
from automm_serve.errors import ConfigError
from automm_serve.processors import AnyProcessor
from automm_serve.schema import Schema
from automm_serve.tensors import Table


def fit_processors(schema: Schema, table: Table, config: Config) -> tuple[AnyProcessor, ...]:
    """Fit a processor for each of ``model.names`` whose kinds of column the schema has.

    Raises:
        ConfigError: A column is read by no encoder.
    """
    processors = []
    unread = {column.name: column.kind for column in schema.columns}
    for name in config.model.names:
        if name in FUSIONS:
            continue
        encoder = find_encoder(name)
        columns = [column for column in schema.columns if column.kind in encoder.KINDS]
        if columns:
            options = options_of(config, name)
            processors.append(encoder.fit(name, table, columns, options))
            for column in columns:
                unread.pop(column.name, None)
    if unread:
        raise ConfigError(
            where="hyperparameter 'model.names'",
            what=f"no model of {', '.join(config.model.names)} reads {unread}",
            mend="Name a model that does, or set those columns to 'null' in column_types",
        )
    return tuple(processors)
