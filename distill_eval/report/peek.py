"""The next token under each model and temperature, in the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from distill_eval.report import numbers
from distill_eval.report.sections import short_names
from distill_eval.schema.fidelity import Peek

if TYPE_CHECKING:
    from rich.console import Console


def visible(token: str) -> str:
    r"""A token between bars, so that spaces at its ends show; others than a plain space as escapes, such as `\n`."""
    shown = "".join(char.encode("unicode_escape").decode() if char == "\\" or _hidden(char) else char for char in token)
    return f"|{shown}|"


def _hidden(char: str) -> bool:
    return char != " " and unicodedata.category(char)[0] in "CZ"


def print_peeks(peeks: Sequence[Peek], prompt: str, console: Console) -> None:
    """A table per model, since each may have tokens of its own."""
    from rich.table import Table
    from rich.text import Text

    console.print(Text(f"What comes behind {visible(prompt)}"), highlight=False)
    names = short_names([peek.model for peek in peeks])
    for peek in peeks:
        table = Table(title=Text(names[peek.model]), title_justify="left", show_footer=True)
        table.add_column("token", Text("entropy, nats"), overflow="fold")
        for soft in peek.softened:
            footer = Text(numbers.fixed(soft.entropy, 3))
            table.add_column(f"T = {soft.temperature:g}", footer, justify="right")
        for place, token in enumerate(peek.tokens):
            shares = (Text(numbers.fixed(100 * soft.probs[place], 2) + " %") for soft in peek.softened)
            table.add_row(Text(visible(token.text)), *shares)
        rest = (Text(numbers.fixed(100 * max(0.0, 1 - sum(soft.probs)), 2) + " %") for soft in peek.softened)
        table.add_row(Text("all others"), *rest)
        console.print(table)
