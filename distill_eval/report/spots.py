"""A chart of spots: two measures of each thing with their intervals, its size as an area, and which none beats."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree import ElementTree as ET

from distill_eval.report.axes import Axis, linear, logarithmic, tick_labels
from distill_eval.report.frame import (
    BAR,
    EDGE,
    HOLLOW_BAR,
    REFERENCE,
    ROW,
    Box,
    Entry,
    head,
    plot_box,
    series_class,
    x_title,
    y_ticks,
)
from distill_eval.report.svg import CHAR, FONT, WIDTH, element, label, text_width

PLOT_HEIGHT = 300
RADIUS = 13.0
"""Of a spot whose size is 1."""
LEAST_RADIUS = 3.0
MOST_NAME = 150
"""Width of the longest name beside its spot; longer ones are cut."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Spot:
    """One thing."""

    name: str
    told: str
    """Its numbers, under the mouse."""
    x: float
    y: float
    x_range: Interval | None = None
    y_range: Interval | None = None
    size: float | None = None
    """Times the area of a spot of size 1; `None`: not known, the least."""
    hollow: bool = False

    @property
    def radius(self) -> float:
        """Of its circle."""
        return LEAST_RADIUS if self.size is None else max(LEAST_RADIUS, RADIUS * math.sqrt(self.size))


@dataclass(frozen=True)
class SpotChart:
    """What a chart of spots shows; more is better on both axes, and all values are above 0."""

    title: str
    y_title: str
    x_title: str
    spots: tuple[Spot, ...]
    filled_name: str
    """What spots are that are not hollow."""
    hollow_name: str
    frontier_name: str

    @property
    def entries(self) -> list[Entry]:
        """The legend."""
        kinds = [Entry(self.filled_name, BAR, 0), Entry(self.hollow_name, HOLLOW_BAR, 0)]
        shown = [entry for entry in kinds if any(spot.hollow == (entry.kind == HOLLOW_BAR) for spot in self.spots)]
        return [*shown, Entry(self.frontier_name, REFERENCE, 1)]

    @property
    def frontier(self) -> list[Spot]:
        """The spots that no other beats in both measures, from left to right."""
        best: list[Spot] = []
        for spot in sorted(self.spots, key=lambda spot: (-spot.x, -spot.y)):
            if not best or spot.y > best[-1].y:
                best.append(spot)
        return best[::-1]


def draw_spots(chart: SpotChart) -> tuple[ET.Element, float]:
    """The chart as a group, and its height."""
    group = element("g")
    x_axis = logarithmic([end for spot in chart.spots for end in (spot.x, *(spot.x_range or ()))])
    y_axis = linear([end for spot in chart.spots for end in (spot.y, *(spot.y_range or ()))])
    box = plot_box(y_axis, head(group, chart.title, chart.entries, chart.y_title))
    box = box._replace(bottom=box.top + PLOT_HEIGHT, left=box.left + RADIUS, right=box.right - RADIUS)
    y_ticks(group, y_axis, box)
    for tick, text in zip(x_axis.ticks, tick_labels(x_axis.ticks), strict=True):
        x = box.x(x_axis.share(tick))
        group.append(element("line", class_="grid", x1=x, y1=box.top, x2=x, y2=box.bottom))
        group.append(element("text", text=text, x=x, y=box.bottom + FONT + 5, text_anchor="middle"))
    group.append(_staircase(chart.frontier, x_axis, y_axis, box))
    places = [(box.x(x_axis.share(spot.x)), box.y(y_axis.share(spot.y))) for spot in chart.spots]
    for spot, (x, y) in zip(chart.spots, places, strict=True):
        group.extend(_whiskers(spot, x, y, x_axis, y_axis, box))
    for spot, (x, y) in sorted(zip(chart.spots, places, strict=True), key=lambda pair: -pair[0].radius):
        told = element("title", text=f"{spot.name}: {spot.told}")
        style = series_class(0, HOLLOW_BAR if spot.hollow else BAR)
        group.append(element("circle", told, class_=style, cx=x, cy=y, r=spot.radius, fill_opacity="0.35"))
    group.extend(_names(chart.spots, places, box))
    return group, x_title(group, chart.x_title, box)


def _staircase(frontier: Sequence[Spot], x_axis: Axis, y_axis: Axis, box: Box) -> ET.Element:
    """Below and left of it everything is beaten."""
    corners: list[tuple[float, float]] = [(0.0, y_axis.share(frontier[0].y))]
    for spot in frontier:
        corners += [(corners[-1][0], y_axis.share(spot.y)), (x_axis.share(spot.x), y_axis.share(spot.y))]
    corners.append((corners[-1][0], 0.0))
    group = element("g")
    style, places = series_class(1, REFERENCE), [(box.x(x), box.y(y)) for x, y in corners]
    for (x1, y1), (x2, y2) in itertools.pairwise(places):
        if (x1, y1) != (x2, y2):
            group.append(element("line", class_=style, x1=x1, y1=y1, x2=x2, y2=y2))
    return group


def _whiskers(spot: Spot, x: float, y: float, x_axis: Axis, y_axis: Axis, box: Box) -> Iterator[ET.Element]:
    style = series_class(0, BAR)
    if spot.x_range is not None:
        low, high = (box.x(x_axis.share(end)) for end in spot.x_range)
        yield element("line", class_=style, x1=low, y1=y, x2=high, y2=y)
    if spot.y_range is not None:
        low, high = (box.y(y_axis.share(end)) for end in spot.y_range)
        yield element("line", class_=style, x1=x, y1=low, x2=x, y2=high)


class _Area(NamedTuple):
    """What a name covers."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Area) -> bool:
        """Whether they overlap."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def _names(spots: Sequence[Spot], places: Sequence[tuple[float, float]], box: Box) -> Iterator[ET.Element]:
    """Each name beside its spot, where it covers no other spot and no other name if there is such a place."""
    taken = [_Area(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    for spot, (x, y) in zip(spots, places, strict=True):
        width = min(MOST_NAME, text_width(spot.name) + CHAR)
        areas = [area for area in _around(x, y, spot.radius, width) if _inside(area, box)]
        area = next((area for area in areas if not any(area.meets(other) for other in taken)), areas[0])
        taken.append(area)
        yield label(area.left + CHAR / 2, area.bottom - 5, spot.name, width=width)


def _around(x: float, y: float, radius: float, width: float) -> Iterator[_Area]:
    """Places for a name: right, left, above and below, then the same further away."""
    for away in range(8):
        rise = away * ROW / 2
        for left in (x + radius, x - radius - width):
            for middle in (y - rise, y + rise):
                yield _Area(left, middle - ROW / 2, left + width, middle + ROW / 2)
        for top in (y - radius - ROW - rise, y + radius + rise):
            yield _Area(x - width / 2, top, x + width / 2, top + ROW)


def _inside(area: _Area, box: Box) -> bool:
    return area.left >= EDGE and area.right <= WIDTH - EDGE and box.top - ROW <= area.top and area.bottom <= box.bottom
