"""A table of cells in HTML, that a page's script makes sortable."""

from __future__ import annotations

import re
from collections.abc import Sequence

from distill_eval.report.html.markup import Html, joined, tag
from distill_eval.report.table import Column, grid

_NUMBER = re.compile(r"(?<![^\s(\[])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?=x?(?![\w-]|[.,]\d))")
"""A number on its own: not the one in `gsm8k` or `task-2`, but that in `1.9x`."""
_SCALES = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
_SIZE = re.compile(r"\s(kB|MB|GB)\b")


def table(columns: Sequence[Column], name: str, *, prefix: str, sortable: bool = False) -> Html:
    """The table in a box of its own that scrolls, and its footnotes below it.

    Args:
        columns: Of unescaped text; the first one names the rows.
        name: What the table is, for those who do not see it.
        prefix: Of the notes' ids, unique in the page.
        sortable: Whether the script makes its headings buttons.
    """
    shown = grid(columns)
    heads = [
        tag("th", header, scope="col", class_="number" if numeric else None)
        for header, numeric in zip(shown.headers, shown.numeric, strict=True)
    ]
    rows = []
    for row in shown.rows:
        cells = [tag("th", _noted(row[0], prefix), scope="row")]
        for text, numeric in zip(row[1:], shown.numeric[1:], strict=True):
            cells.append(_cell(text, numeric, prefix))
        rows.append(tag("tr", *cells))
    made = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_="sortable" if sortable else None)
    box = tag("div", made, class_="scroll", role="region", aria_label=name, tabindex="0")
    notes = [
        tag("li", f"({number}) {note}", id=f"{prefix}-{number}") for number, note in enumerate(shown.notes, start=1)
    ]
    return joined([box, *([tag("ul", *notes, class_="notes")] if notes else [])])


def _cell(text: str, numeric: bool, prefix: str) -> Html:
    if not numeric:
        return tag(
            "td", _noted(text, prefix), class_=text.lower() if text in ("PASS", "FAIL", "INCONCLUSIVE") else None
        )
    value = sort_key(text)
    return tag("td", _noted(text, prefix), class_="number", data_number=None if value is None else repr(value))


def _noted(text: str, prefix: str) -> Html:
    """The text with its marks of footnotes as links."""
    marks = re.search(r"(?: \(\d+\))+$", text)
    if marks is None:
        return joined([text])
    links = [
        part
        for mark in re.findall(r"\d+", marks.group())
        for part in (" ", tag("a", f"({mark})", href=f"#{prefix}-{mark}", class_="mark"))
    ]
    return joined([text[: marks.start()], *links])


def sort_key(text: str) -> float | None:
    """The first number in a cell, of a size its bytes; `None` where the cell begins with a dash or has none."""
    found = None if text == "-" or text.startswith("- ") else _NUMBER.search(text)
    if found is None:
        return None
    unit = _SIZE.match(text, found.end())
    return float(found.group().replace(",", "")) * (_SCALES[unit.group(1)] if unit else 1.0)
