"""Every error that this product raises on purpose.

AutoMMError
├── DataError               the rows or cells given cannot be used       (also a ValueError)
├── SchemaError             the table has not the columns of the model   (also a ValueError)
├── ConfigError             a setting is unknown or out of range         (also a ValueError)
├── BundleError             a saved file is damaged, missing or foreign  (also a ValueError)
├── ExportError             what was exported answers otherwise          (also a RuntimeError)
├── DeviceError             a GPU, or what drives it, is absent or fails (also a RuntimeError)
├── ServerError             a server does not start or does not answer   (also a RuntimeError)
└── MissingDependencyError  an optional package is not installed         (also an ImportError)

A single cell that cannot be read is no exception but data: ``automm_serve.tensors.CellError``.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class AutoMMError(Exception):
    """Root of the tree. The command line prints it without a traceback and exits with 1.

    Args:
        where: The place, in words that the user knows: a file, a column and row, a setting.
        what: What is wrong there, with the value that was found.
        mend: The one thing to do about it, in the imperative.
        command: What to type for that; printed on a line of its own so that it can be copied.
    """

    def __init__(self, *, where: str, what: str, mend: str, command: str = "") -> None:
        tail = f":\n    {command}" if command else "."
        super().__init__(f"{where}: {what}. {mend}{tail}")
        self.where = where
        self.what = what
        self.mend = mend
        self.command = command


class DataError(AutoMMError, ValueError):
    """The rows or cells given cannot be used."""


class SchemaError(AutoMMError, ValueError):
    """The table has not the columns of the model."""


class ConfigError(AutoMMError, ValueError):
    """A setting is unknown or out of range."""


class BundleError(AutoMMError, ValueError):
    """A saved file is damaged, missing or foreign."""


class ExportError(AutoMMError, RuntimeError):
    """What was exported does not answer as what was trained."""


class DeviceError(AutoMMError, RuntimeError):
    """A GPU, or what drives it, is not here or fails."""


class ServerError(AutoMMError, RuntimeError):
    """A server does not start, or does not answer."""


class MissingDependencyError(AutoMMError, ImportError):
    """An optional package is not installed."""


def unknown_name(noun: str, name: object, known: Iterable[str]) -> ConfigError:
    """Make the error for a name that is no entry of a registry; the nearest entry is offered.

    Args:
        noun: What the entries are: ``"preset"``.
        name: That was asked for.
        known: The entries, in the order in which they are listed.
    """
    entries = list(known)
    near = near_name(str(name), entries)
    return ConfigError(
        where=f"{noun} {name!r}",
        what=f"there is no such {noun}" + (f", but there is {near!r}" if near else ""),
        mend=f"Choose one of {', '.join(entries)}",
    )


def near_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was most probably meant, whatever the case, or None."""
    by_folded = {other.casefold(): other for other in known}
    close = get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.7)
    return by_folded[close[0]] if close else None
