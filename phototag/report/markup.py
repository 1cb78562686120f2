"""Elements of HTML and SVG as text that is escaped by default."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

Content = str | float | None
"""What can stand between tags: `Markup` goes in as it is, text is escaped, None is left out."""

_VOID = frozenset({"br", "hr", "img", "line", "path"})


def element(name: str, *children: Content, **attributes: Content) -> Markup:
    """One element. A trailing underscore of an attribute is dropped (class_), other ones become hyphens.

    Attributes that are None are left out.
    """
    inside = join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup("<{}{}/>").format(name, inside)
    return Markup("<{}{}>{}</{}>").format(name, inside, join(children), name)


def join(parts: Iterable[Content]) -> Markup:
    """The parts one after the other; text is escaped."""
    return Markup("").join(escape(part) for part in parts if part is not None)
