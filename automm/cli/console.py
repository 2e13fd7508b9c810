"""How commands print: tables for people to stdout, JSON on request, remarks to stderr."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import click
import msgspec


def print_json(value: object) -> None:
    """Print a value as JSON; NaN becomes null."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table as wide as the terminal, or as wide as it is where stdout is a file."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    click.echo(title)
    table = Table(box=box.SIMPLE_HEAD)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # Text: a name may hold [brackets], which are no markup
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def read_column_types(items: Iterable[str]) -> dict[str, str | None]:
    """Return column -> type of the values of ``--column-type COL=KIND``.

    Raises:
        BadParameter: A value has no ``=``.
    """
    pairs: dict[str, str | None] = {}
    for item in items:
        name, equals, kind = item.rpartition("=")  # a column's name may hold an '='
        if not equals:
            raise click.BadParameter(f"{item!r} is not COL=KIND", param_hint="--column-type")
        pairs[name] = kind
    return pairs


@contextmanager
def noting_devices() -> Iterator[None]:
    """Print as a note, and not with a line of code, that a GPU which is here is not used."""
    from automm_serve.devices import DeviceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DeviceWarning)
        yield
    for one in caught:
        if issubclass(one.category, DeviceWarning):
            remark(f"note: {one.message}")
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def remark(text: str) -> None:
    """Print a remark to stderr, where it does not mix with results."""
    click.echo(text, err=True)
