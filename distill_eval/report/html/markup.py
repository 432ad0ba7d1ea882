"""HTML elements from Python: what is not markup already is escaped on its way in."""

from __future__ import annotations

import html
from collections.abc import Sequence

from distill_eval.report.escape import visible

VOID = frozenset({"br", "col", "link", "meta"})
INLINE = frozenset({"a", "code", "b", "em", "span", "strong"})
"""No line break is written after them, since it would show as a space."""


class Html(str):
    """Finished markup. Any other text is foreign, and escaped where it is put into an element."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str | bool | None) -> Html:
    """An element; `class_` and `aria_label` stand for `class` and `aria-label`.

    Args:
        name: Of the element.
        children: Markup, or text to be escaped; control characters are shown as Python escapes.
        attributes: `True` writes the name alone; `None` and `False` leave it out.
    """
    said = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_escaped(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in VOID:
        return Html(f"<{name}{said}>\n")
    first = "\n" if name == "pre" else ""  # a reader drops one line break there, which may be the text's own
    return Html(f"<{name}{said}>{first}{joined(children)}</{name}>" + ("" if name in INLINE else "\n"))


def joined(parts: Sequence[str]) -> Html:
    """Markup as it is, text escaped, one after the other."""
    return Html("".join(part if isinstance(part, Html) else _escaped(part) for part in parts))


def _escaped(text: str) -> str:
    return html.escape(visible(text))
