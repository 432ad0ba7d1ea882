"""A chart of rows: a name, an interval along a common axis, and its numbers. For forest plots and distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from xml.etree import ElementTree as ET

from distill_eval.report.axes import Axis, tick_labels
from distill_eval.report.frame import BAR, EDGE, LINE, REFERENCE, ROW, Box, Entry, head, series_class, x_title
from distill_eval.report.svg import FONT, WIDTH, element, label, text_width

MOST_NAME = 170
"""Width of the longest name; longer ones are cut."""
GAP = 10


class Tick(NamedTuple):
    """A short stroke across a row."""

    name: str
    value: float


@dataclass(frozen=True)
class Row:
    """One interval."""

    name: str
    told: str
    """Its numbers, at the right end of the row."""
    value: float | None
    """A dot; `None` draws nothing in this row."""
    low: float | None = None
    """Where its line begins; `None`: at the end of the axis."""
    high: float | None = None
    ticks: tuple[Tick, ...] = ()
    level: float | None = None
    """A bound, drawn across the row."""


@dataclass(frozen=True)
class RangeChart:
    """What a chart of rows shows."""

    title: str
    y_title: str
    """What the rows are, and their numbers."""
    x_title: str
    rows: tuple[Row, ...]
    axis: Axis
    level_name: str | None = None
    """What the rows' levels are, for the legend."""

    @property
    def entries(self) -> list[Entry]:
        """The legend: of the level alone, since rows bear their names."""
        return [] if self.level_name is None else [Entry(self.level_name, REFERENCE, 0)]


def draw_ranges(chart: RangeChart) -> tuple[ET.Element, float]:
    """The chart as a group, and its height."""
    group = element("g")
    box = _box(chart, head(group, chart.title, chart.entries, chart.y_title))
    for tick, text in zip(chart.axis.ticks, tick_labels(chart.axis.ticks), strict=True):
        x = box.x(chart.axis.share(tick))
        group.append(element("line", class_="grid", x1=x, y1=box.top, x2=x, y2=box.bottom))
        group.append(element("text", text=text, x=x, y=box.bottom + FONT + 4, text_anchor="middle"))
    for place, row in enumerate(chart.rows):
        group.extend(_row(row, chart.axis, box, box.top + (place + 0.5) * ROW))
    return group, x_title(group, chart.x_title, box)


def _box(chart: RangeChart, top: float) -> Box:
    """The place between names and numbers."""
    left = EDGE + min(MOST_NAME, max(text_width(row.name) for row in chart.rows)) + GAP
    right = WIDTH - EDGE - max(text_width(row.told) for row in chart.rows) - GAP
    return Box(left, top - ROW / 2, right, top - ROW / 2 + len(chart.rows) * ROW)


def _row(row: Row, axis: Axis, box: Box, y: float) -> list[ET.Element]:
    base = y + FONT / 3
    parts = [
        label(EDGE, base, row.name, width=box.left - GAP - EDGE),
        element("text", text=row.told, x=WIDTH - EDGE, y=base, text_anchor="end"),
    ]
    if row.level is not None:
        x = box.x(axis.share(row.level))
        style = series_class(0, REFERENCE)
        parts.append(element("line", class_=style, x1=x, y1=y - ROW / 2, x2=x, y2=y + ROW / 2))
    if row.value is None:
        return parts
    low, high = (box.x(end if value is None else axis.share(value)) for value, end in ((row.low, 0.0), (row.high, 1.0)))
    told = element("title", text=f"{row.name}: {row.told}")
    parts.append(element("line", told, class_=series_class(0, LINE), x1=low, y1=y, x2=high, y2=y))
    for tick in row.ticks:
        x = box.x(axis.share(tick.value))
        stroke = element("line", element("title", text=tick.name), class_="axis", x1=x, y1=y - 6, x2=x, y2=y + 6)
        parts.append(stroke)
    parts.append(element("circle", class_=series_class(0, BAR), cx=box.x(axis.share(row.value)), cy=y, r=4))
    return parts
