"""A report as a GitHub flavored parser reads it, and its golden file."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

GOLDEN = Path(__file__).parents[2] / "golden"
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def parse(text: str) -> list[Token]:
    return PARSER.parse(text)


def content(token: Token) -> str:
    return "".join(child.content for child in token.children or [])


def tables(text: str) -> dict[str, list[list[str]]]:
    """The rows of each table, head first, by the heading above it (later ones of a heading get a number)."""
    found: dict[str, list[list[str]]] = {}
    heading, current, tokens = "", "", parse(text)
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = content(tokens[index + 1])
        elif token.type == "table_open":
            same = sum(name.startswith(heading) for name in found)
            current = f"{heading} {same + 1}" if same else heading
            found[current] = []
        elif token.type == "tr_open":
            found[current].append([])
        elif token.type in ("th_open", "td_open"):
            found[current][-1].append(content(tokens[index + 1]))
    return found


def column(table: list[list[str]], header: str) -> list[str]:
    return [row[table[0].index(header)] for row in table[1:]]


def assert_nothing_foreign_is_markup(text: str, html: Collection[str] = (), pictures: int = 0) -> None:
    """Beside our own folds and pictures there is nothing but text, code and bold print."""
    found = 0
    for token in parse(text):
        assert token.type != "html_block" or token.content in html
        for child in token.children or []:
            assert child.type in ("text", "code_inline", "strong_open", "strong_close", "softbreak", "image")
            found += child.type == "image"
    assert found == pictures


def assert_golden(name: str, text: str) -> None:
    """The text is that of the golden file, which DISTILL_EVAL_UPDATE_GOLDEN rewrites."""
    path = GOLDEN / name
    if os.environ.get("DISTILL_EVAL_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
