"""The comparison as one compact table per student in the terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from distill_eval.report import bought, escape, numbers, parity, verdict
from distill_eval.report.rows import (
    View,
    labels,
    metric_cell,
    ordered,
    p_value_cell,
    task_cell,
    value_cell,
    verdict_cell,
)
from distill_eval.report.table import Cell, Column, Grid, display_width, grid
from distill_eval.schema.retention import Entry, Retention, StudentVerdict

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

PLAIN_WIDTH = 100
"""Columns that the output takes where it is not a terminal, so that a log file is the same everywhere."""

NAMES = ("task", "metric")
TEXT = (*NAMES, "verdict", "student is")
RATIO = numbers.RATIO._replace(suffix="%", separator=",")
BOUGHT = "bought: student - baseline; gap recovered: bought / (teacher - baseline)"
INTERVALS = ("difference", "retention", "bought", "gap recovered")
COLORS = {
    "PASS": "green",
    "FAIL": "red",
    "INCONCLUSIVE": "yellow",
    "better": "green",
    "worse": "red",
    "unclear": "yellow",
}


def print_table(retention: Retention, console: Console) -> None:
    """Print the verdict and the retention table of each student: colored in a terminal, plain text elsewhere."""
    view = View(show=escape.clean, labels=labels(retention))
    for decision in retention.verdicts:
        width = console.width if console.is_terminal else PLAIN_WIDTH
        parts = _student(retention, decision, view, width)
        if console.is_terminal:
            console.print(*parts, sep="\n")
        else:
            console.print(plain(parts, width), soft_wrap=True, markup=False, highlight=False, emoji=False)


def plain(parts: Sequence[RenderableType], width: int) -> str:
    """What a console would print, without colors and blanks at the ends of lines."""
    from rich.console import Console

    buffer = io.StringIO()
    Console(file=buffer, width=width, color_system=None, force_terminal=False).print(*parts, sep="\n")
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def _student(retention: Retention, decision: StudentVerdict, view: View, width: int) -> list[RenderableType]:
    from rich.text import Text

    name = view.show(view.labels.get(decision.student_ref, decision.student_ref))
    sentence = Text(verdict.headline(decision, name), style=f"bold {COLORS[decision.verdict]}")
    sentence.append(" " + verdict.grounds(retention, decision, view.show), style="not bold default")
    entries = [entry for entry in retention.entries if entry.primary and entry.student_ref == decision.student_ref]
    if not entries:
        return [sentence, ""]
    content = _grid(ordered(retention, entries), view)
    level = numbers.round_percent(retention.criterion.level)
    legend = f"[ ]: {level} interval; differences between % are in percentage points"
    parts: list[RenderableType] = [
        sentence,
        "",
        _rich_table(content, width),
        "",
        Text(legend),
        *_notes(content, view),
        "",
    ]
    pairs = bought.held(ordered(retention, entries))
    if pairs:
        against = _bought_grid(pairs, view)
        said = Text(bought.sentence(pairs, view.show))
        parts += [said, "", _rich_table(against, width), "", Text(BOUGHT), *_notes(against, view), ""]
    shares = [view.show(parity.line(one, name)) for one in retention.parity if one.student_ref == decision.student_ref]
    return [*parts, *(Text(share) for share in shares), *([""] if shares else [])]


def _notes(content: Grid, view: View) -> list[Text]:
    from rich.text import Text

    return [Text(f"({number}) {view.show(note)}") for number, note in enumerate(content.notes, start=1)]


def _grid(entries: Sequence[Entry], view: View) -> Grid:
    """The columns of the report that fit into 100, with numbers as short as can be."""
    cells: list[dict[str, Cell]] = []
    for entry in entries:
        score, difference = _scales(entry)
        cells.append(
            {
                "task": task_cell(entry, view),
                "metric": metric_cell(entry, view),
                "n": Cell(numbers.count(entry.num_pairs)),
                "teacher": value_cell(entry.teacher, score, interval=False),
                "student": value_cell(entry.student, score, interval=False),
                "difference": value_cell(entry.difference, difference),
                "retention": value_cell(entry.retention, RATIO),
                "verdict": verdict_cell(entry),
            }
        )
    return _columns(cells)


def _bought_grid(pairs: Sequence[bought.Held], view: View) -> Grid:
    """The same for the student, whose score stands above, against its baseline."""
    cells: list[dict[str, Cell]] = []
    for entry, held in pairs:
        score, difference = _scales(entry)
        cells.append(
            {
                "task": task_cell(entry, view),
                "metric": metric_cell(entry, view),
                "baseline": value_cell(held.baseline, score, interval=False),
                "bought": value_cell(held.difference, difference),
                "p (Holm)": p_value_cell(held.p_adjusted, held.difference),
                "gap recovered": value_cell(held.gap_recovered, RATIO),
                "student is": bought.outcome_cell(held),
            }
        )
    return _columns(cells)


def _scales(entry: Entry) -> tuple[numbers.Scale, numbers.Scale]:
    """How its scores and their differences are written, as short as can be."""
    score = numbers.score_scale(entry.unit)
    short = score._replace(suffix=score.suffix.strip())
    return short, numbers.difference_scale(entry.unit)._replace(suffix="", separator=",")


def _columns(cells: Sequence[dict[str, Cell]]) -> Grid:
    return grid([Column(key, tuple(row[key] for row in cells), numeric=key not in TEXT) for key in cells[0]])


def _rich_table(content: Grid, width: int) -> Table:
    """Nothing is ever cut: names wrap first, then intervals go below their values, then everything wraps."""
    from rich.box import Box
    from rich.table import Table
    from rich.text import Text

    rows, gap, widths = _layout(content, width)
    rule_below_head = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
    table = Table(box=rule_below_head, pad_edge=False, padding=(0, gap - 1, 0, 0), show_edge=False)
    for header, numeric, fitted in zip(content.headers, content.numeric, widths, strict=True):
        table.add_column(header, justify="right" if numeric else "left", overflow="fold", width=fitted)
    for row in rows:
        *cells, decision = row
        table.add_row(*(Text(cell) for cell in cells), Text(decision, style=COLORS.get(decision, "")))
    return table


def _layout(content: Grid, width: int) -> tuple[Sequence[Sequence[str]], int, Sequence[int | None]]:
    """The first of these that fits: rows, blanks between columns, and the columns' widths."""
    stacked = [
        [
            cell.replace(" [", "\n[") if key in INTERVALS else cell
            for key, cell in zip(content.headers, row, strict=True)
        ]
        for row in content.rows
    ]
    attempts = ((content.rows, 2, 99), (content.rows, 1, 16), (stacked, 2, 16), (stacked, 1, 16), (stacked, 1, 6))
    for rows, gap, longest_word in attempts:
        widths = _fit(content.headers, rows, width - gap * (len(content.headers) - 1), longest_word)
        if widths is not None:
            return rows, gap, widths
    return stacked, 1, [None] * len(content.headers)


def _fit(headers: Sequence[str], rows: Sequence[Sequence[str]], room: int, longest_word: int) -> list[int] | None:
    """Widths that sum to `room` at most; words of names longer than `longest_word` may be broken."""
    columns = list(zip(headers, *rows, strict=True))
    full = [max(display_width(line) for text in column for line in text.split("\n")) for column in columns]
    fitted = [
        min(longest_word, max(display_width(word) for text in column for word in text.split()))
        if key in NAMES
        else most
        for key, column, most in zip(headers, columns, full, strict=True)
    ]
    spare = room - sum(fitted)
    if spare < 0:
        return None
    for index, most in enumerate(full):
        extra = min(most - fitted[index], spare)
        fitted[index] += extra
        spare -= extra
    return fitted
