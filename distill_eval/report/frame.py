"""What bar and line charts share: title, legend, axes with their ticks, and the place that is left to draw in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree import ElementTree as ET

from distill_eval.report.axes import Axis, short, tick_labels
from distill_eval.report.svg import FONT, MANY, WIDTH, element, label, text_width

PLOT_HEIGHT = 170
EDGE = 12
ROW = 20
"""Height of a line of text."""
LEAST_LEFT = 58.0
"""Where most plots begin, so that they stand below each other."""
SAMPLE = 26
"""Width of the sample before a name in the legend."""

BAR, HOLLOW_BAR, LINE, REFERENCE = "mark", "mark hollow", "line", "reference"
"""Kinds of series, by the class of their style; a hollow bar is told apart without colors."""


@dataclass(frozen=True)
class Reference:
    """A level across the whole chart, such as the teacher's."""

    name: str
    value: float


class Box(NamedTuple):
    """A rectangle in the picture's units."""

    left: float
    top: float
    right: float
    bottom: float

    def x(self, share: float) -> float:
        """From 0 at the left to 1 at the right."""
        return self.left + share * (self.right - self.left)

    def y(self, share: float) -> float:
        """From 0 at the bottom to 1 at the top."""
        return self.bottom - share * (self.bottom - self.top)


class Entry(NamedTuple):
    """One name in the legend."""

    name: str
    kind: str
    number: int


def legend(series: Sequence[tuple[str, str]], levels: Sequence[Reference]) -> list[Entry]:
    """The names of all series, given with their kinds, and levels; none where there is nothing to tell apart."""
    if len(series) < 2 and not levels:
        return []
    named = [Entry(name, kind, place) for place, (name, kind) in enumerate(series)]
    valued = [Entry(f"{level.name} {short(level.value)}", REFERENCE, place) for place, level in enumerate(levels)]
    return named + valued


def series_class(number: int, kind: str) -> str:
    """The style of a series: a color and a dash or filling of its own, as long as there are some."""
    return f"{kind} s{number % MANY}"


def head(group: ET.Element, title: str, entries: Sequence[Entry], y_title: str) -> float:
    """Write title, legend and the vertical axis's title; returns how far down they reach."""
    room = WIDTH - 2 * EDGE
    group.append(label(EDGE, EDGE + FONT, title, width=room * 0.85, class_="title"))
    down, right = EDGE + FONT + 8.0, float(EDGE)
    if entries:
        down += ROW
    for entry in entries:
        width = min(room - SAMPLE, text_width(entry.name))
        if right > EDGE and right + SAMPLE + width > WIDTH - EDGE:
            down, right = down + ROW, float(EDGE)
        group.append(_sample(entry, right, down - FONT / 3))
        group.append(label(right + SAMPLE, down, entry.name, width=room - SAMPLE))
        right += SAMPLE + width + 14
    down += ROW + 4
    group.append(label(EDGE, down, y_title, width=room))
    return down + ROW - 4


def _sample(entry: Entry, x: float, y: float) -> ET.Element:
    style = series_class(entry.number, entry.kind)
    if entry.kind in (BAR, HOLLOW_BAR):
        return element("rect", class_=style, x=x + 4, y=y - 5, width=14, height=10)
    return element("line", class_=style, x1=x, y1=y, x2=x + SAMPLE - 6, y2=y)


def plot_box(y_axis: Axis, top: float) -> Box:
    """The place to draw in, with room for the labels of the vertical axis to its left."""
    labels = tick_labels(y_axis.ticks)
    left = max(LEAST_LEFT, EDGE + max(text_width(text) for text in labels) + 8)
    return Box(left, top, WIDTH - EDGE - 6, top + PLOT_HEIGHT)


def y_ticks(group: ET.Element, axis: Axis, box: Box) -> None:
    """Horizontal grid lines with their values."""
    for tick, text in zip(axis.ticks, tick_labels(axis.ticks), strict=True):
        y = box.y(axis.share(tick))
        group.append(element("line", class_="grid", x1=box.left, y1=y, x2=box.right, y2=y))
        group.append(element("text", text=text, x=box.left - 8, y=y + FONT / 3, text_anchor="end"))


def x_title(group: ET.Element, title: str, box: Box) -> float:
    """Write the horizontal axis's title below its ticks; returns the height of the whole chart."""
    y = box.bottom + 2 * ROW
    middle = (box.left + box.right) / 2
    group.append(label(middle, y, title, width=box.right - box.left, text_anchor="middle"))
    return y + EDGE


def references(group: ET.Element, levels: Sequence[Reference], axis: Axis, box: Box) -> None:
    """Draw the levels across the chart."""
    for number, level in enumerate(levels):
        y = box.y(axis.share(level.value))
        group.append(element("line", class_=series_class(number, REFERENCE), x1=box.left, y1=y, x2=box.right, y2=y))
