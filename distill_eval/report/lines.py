"""A line chart: values against the steps of a training, or anything else that is counted from 0 or has a name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from distill_eval.report.axes import Axis, linear, logarithmic, steps, tick_labels
from distill_eval.report.frame import (
    BAR,
    LINE,
    Box,
    Entry,
    Reference,
    head,
    legend,
    plot_box,
    references,
    series_class,
    x_title,
    y_ticks,
)
from distill_eval.report.svg import FONT, element, number

MARKED = 40
"""Points up to which each is marked."""
BESIDE = 6
"""Distance of the whiskers of two lines at the same x."""


@dataclass(frozen=True)
class Line:
    """One series."""

    name: str
    points: tuple[tuple[float, float], ...]
    """(x, y), by ascending x."""
    highs: tuple[float, ...] = ()
    """Of each point: how far up a whisker goes from it; empty: none has one."""


@dataclass(frozen=True)
class LineChart:
    """What a line chart shows; at least one line has a point."""

    title: str
    y_title: str
    x_title: str
    lines: tuple[Line, ...]
    references: tuple[Reference, ...] = ()
    log: bool = False
    """Equal factors are equally high; all values are above 0."""
    places: tuple[str, ...] = ()
    """Names of x = 0, 1, 2 ..., at equal distances; empty: x is a number."""

    @property
    def entries(self) -> list[Entry]:
        """The legend."""
        return legend([(line.name, LINE) for line in self.lines], self.references)


def draw_lines(chart: LineChart) -> tuple[ET.Element, float]:
    """The chart as a group, and its height."""
    group = element("g")
    points = [point for line in chart.lines for point in line.points]
    values = [y for _, y in points] + [level.value for level in chart.references]
    values += [high for line in chart.lines for high in line.highs]
    y_axis = logarithmic(values) if chart.log else linear(values)
    x_axis = _x_axis(chart)
    box = plot_box(y_axis, head(group, chart.title, chart.entries, chart.y_title))
    y_ticks(group, y_axis, box)
    group.append(element("line", class_="axis", x1=box.left, y1=box.bottom, x2=box.right, y2=box.bottom))
    for tick, text in zip(x_axis.ticks, chart.places or tick_labels(x_axis.ticks), strict=True):
        x = box.x(x_axis.share(tick))
        group.append(element("line", class_="axis", x1=x, y1=box.bottom, x2=x, y2=box.bottom + 4))
        group.append(element("text", text=text, x=x, y=box.bottom + FONT + 5, text_anchor="middle"))
    references(group, chart.references, y_axis, box)
    for place, line in enumerate(chart.lines):
        group.extend(_line(chart, place, line, (x_axis, y_axis), box))
    return group, x_title(group, chart.x_title, box)


def _x_axis(chart: LineChart) -> Axis:
    if chart.places:
        last = len(chart.places) - 1
        return Axis(-0.3, last + 0.3, tuple(float(place) for place in range(last + 1)))
    return steps([0.0, *(x for line in chart.lines for x, _ in line.points)])


def _line(chart: LineChart, place: int, line: Line, axes: tuple[Axis, Axis], box: Box) -> Iterator[ET.Element]:
    x_axis, y_axis = axes
    beside = BESIDE * (place - (len(chart.lines) - 1) / 2) if line.highs else 0.0
    places = [(box.x(x_axis.share(x)) + beside, box.y(y_axis.share(y))) for x, y in line.points]
    path = " ".join(f"{number(x)},{number(y)}" for x, y in places)
    yield element("polyline", element("title", text=line.name), class_=series_class(place, LINE), points=path)
    for x, y in places if len(places) <= MARKED else []:
        yield element("circle", class_=series_class(place, BAR), cx=x, cy=y, r=2.5)
    for (x, y), high in zip(places, line.highs, strict=True) if line.highs else ():
        top = box.y(y_axis.share(high))
        yield element("line", class_=series_class(place, BAR), x1=x, y1=y, x2=x, y2=top)
        yield element("line", class_=series_class(place, BAR), x1=x - 3, y1=top, x2=x + 3, y2=top)
