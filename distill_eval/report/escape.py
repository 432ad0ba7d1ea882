"""Foreign text (model names, task names, commands) made harmless in GitHub flavored markdown.

Rules of what is markup: the GitHub Flavored Markdown Spec 0.29, sections 2.4 (backslash escapes), 4.5 (fences),
4.10 (tables), 6.3 (code spans), 6.9 (autolinks) and 6.10 (raw HTML).
"""

from __future__ import annotations

import re
import unicodedata

_MARKUP = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        "$": "&#36;",  # GitHub reads $...$ as mathematics, and a backslash does not stop it
        **{mark: f"\\{mark}" for mark in "\\`*[]|~#"},
    }
)
_MAIL_LIKE = re.compile(r"([A-Za-z0-9_./:+-]+@[A-Za-z0-9_./@:+-]+)")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_./@:+-]+")


def clean(foreign: str) -> str:
    """The text on one line: line breaks, control and invisible formatting characters become single spaces."""
    visible = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in foreign)
    return " ".join(visible.split()) or "(empty)"


def text(foreign: str) -> str:
    """Markdown that shows the text as it is, in a table cell or in prose, never as markup, link or HTML.

    What looks like a mail address (`name@v1.main` does) becomes a code span: no escape stops GitHub from linking it.
    """
    pieces = _MAIL_LIKE.split(clean(foreign))
    return "".join(f"`{piece}`" if index % 2 else _escaped_text(piece) for index, piece in enumerate(pieces))


def _escaped_text(text: str) -> str:
    escaped = text.translate(_MARKUP)
    escaped = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)  # a_b is text, _a_ would be emphasis
    return re.sub(r"(?i)(www)\.", r"\1\.", escaped.replace("://", r":\/\/"))  # else GitHub links bare addresses


def name(foreign: str) -> str:
    """Markdown for a name in prose: a code span when it is made of the usual characters, else escaped text."""
    cleaned = clean(foreign)
    return f"`{cleaned}`" if _PLAIN_NAME.fullmatch(cleaned) else text(foreign)


def code_block(foreign: str, *, language: str = "") -> str:
    r"""A fenced code block that shows the text verbatim, whatever fences the text itself holds.

    Control characters other than tab and line feed are shown as Python escapes, such as `\x1b`.
    """
    shown = visible(foreign)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{shown}\n{fence}"


def visible(foreign: str) -> str:
    r"""The text with control characters other than tab and line feed as Python escapes, such as `\x1b`."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs") else _escaped_char(char)
        for char in foreign
    )


def _escaped_char(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
