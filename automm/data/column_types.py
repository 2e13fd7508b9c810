"""``column_types``: what the user says of columns, by AutoGluon's names or ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from automm_serve.errors import ConfigError, SchemaError, near_name

COLUMN_TYPES: dict[str, str | None] = {
    "image": "image",
    "text": "text",
    "number": "number",
    "category": "category",
    "null": None,
    "numerical": "number",
    "categorical": "category",
    "image_path": "image",
    "image_bytearray": "image",
    "image_base64_str": "image",
}
"""Name that a user may write -> kind of column; None where it is left out."""


def read_column_types(
    given: Mapping[str, str | None] | None, known: Iterable[str]
) -> dict[str, str | None]:
    """Return the kind of each column that the user spoke of.

    Args:
        given: Column -> type; None means the same as ``"null"``.
        known: The columns of the table.

    Raises:
        SchemaError: There is no such column.
        ConfigError: There is no such type.
    """
    columns = list(known)
    kinds = {}
    for name, word in (given or {}).items():
        if name not in columns:
            near = near_name(name, columns)
            raise SchemaError(
                where="column_types",
                what=f"there is no column {name!r}",
                mend=f"Write {near!r}" if near else f"Name one of {', '.join(columns)}",
            )
        kinds[name] = _kind(name, "null" if word is None else word)
    return kinds


def _kind(name: str, word: str) -> str | None:
    if word.lower() in COLUMN_TYPES:
        return COLUMN_TYPES[word.lower()]
    near = near_name(word, COLUMN_TYPES)
    raise ConfigError(
        where=f"column_types, column {name!r}",
        what=f"{word!r} is no type of column" + (f"; {near!r} is near" if near else ""),
        mend=f"Pass one of {', '.join(COLUMN_TYPES)}",
    )
