"""Elements of a page; every text is escaped where it is put in, so that none can be forgotten."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

_VOID = frozenset({"br", "col", "img", "meta", "line", "rect", "circle", "polyline", "path"})
_NAME = re.compile(r"[a-zA-Z][\w-]*")
# What XML and HTML cannot hold, and marks that turn the reading direction of what follows.
_UNFIT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


class Markup(str):
    """Text that is markup already. Only ``el`` and constants of this package make it."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Iterable[Child] | None"


def el(name: str, /, *children: Child, **attributes: object) -> Markup:
    """Return an element.

    Args:
        name: Of the tag.
        children: Texts, which are escaped; elements; lists of these. None is left out.
        attributes: ``class_`` is ``class``, other ``_`` become ``-``. None and False are left out,
            True stands without a value.
    """
    shown = "".join(_attribute(key, value) for key, value in attributes.items())
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no tag")
    if name in _VOID and not children:
        return Markup(
            f"<{name}{shown}>" if name in ("br", "col", "img", "meta") else f"<{name}{shown}/>"
        )
    return Markup(f"<{name}{shown}>{join(children)}</{name}>")


def join(children: Child) -> Markup:
    """Return children one after another, texts escaped."""
    if children is None:
        return Markup()
    if isinstance(children, Markup):
        return children
    if isinstance(children, str | int | float):
        return Markup(html.escape(_UNFIT.sub("\N{REPLACEMENT CHARACTER}", str(children))))
    return Markup("".join(join(child) for child in children))


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if not _NAME.fullmatch(name) or name.startswith("on"):
        raise ValueError(f"{name!r} is no attribute of a page without scripts")
    if value is True:
        return f" {name}"
    return f' {name}="{join(f"{value}")}"'
