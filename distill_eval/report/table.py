"""Tables of text cells: numbered footnotes, and markdown whose columns also line up in a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell: finished text, and what must be said about it below the table."""

    text: str
    notes: tuple[str, ...] = ()
    missing: bool = False
    """Whether there is no value: a column in which all are missing can be dropped."""


@dataclass(frozen=True)
class Column:
    """A heading and the cells below it."""

    header: str
    cells: tuple[Cell, ...]
    numeric: bool = True

    @property
    def empty(self) -> bool:
        """Whether no cell has a value."""
        return all(cell.missing for cell in self.cells)


@dataclass(frozen=True)
class Grid:
    """A table that is ready to print: text only, its footnotes numbered in reading order."""

    headers: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    """Note number n is `notes[n - 1]`; cells name it as `(n)`. Equal notes share a number."""


def grid(columns: Sequence[Column]) -> Grid:
    """Number the footnotes of the columns, row by row."""
    numbers: dict[str, int] = {}
    rows = []
    for cells in zip(*(column.cells for column in columns), strict=True):
        row = []
        for cell in cells:
            marks = [numbers.setdefault(note, len(numbers) + 1) for note in dict.fromkeys(cell.notes)]
            row.append(" ".join([cell.text, *(f"({mark})" for mark in marks)]))
        rows.append(tuple(row))
    return Grid(
        headers=tuple(column.header for column in columns),
        numeric=tuple(column.numeric for column in columns),
        rows=tuple(rows),
        notes=tuple(numbers),
    )


def markdown_table(table: Grid) -> str:
    """The table in GitHub flavored markdown with padded columns, numbers to the right; no footnotes."""
    lines = [table.headers, *table.rows]
    widths = [max(3, *(display_width(line[index]) for line in lines)) for index in range(len(table.headers))]
    rule = [
        "-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, table.numeric, strict=True)
    ]
    padded = [
        [_pad(text, width, right) for text, width, right in zip(line, widths, table.numeric, strict=True)]
        for line in lines
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [padded[0], rule, *padded[1:]])


def display_width(text: str) -> int:
    """Columns that the text takes in a terminal: East Asian wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _pad(text: str, width: int, right: bool) -> str:
    fill = " " * (width - display_width(text))
    return fill + text if right else text + fill
