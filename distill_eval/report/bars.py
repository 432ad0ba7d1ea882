"""A bar chart: one bar, or one of each series, per category."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from distill_eval.report.axes import Axis, linear, short
from distill_eval.report.frame import (
    BAR,
    HOLLOW_BAR,
    ROW,
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
from distill_eval.report.svg import FONT, element, fitted, text_width

ROWS_ABOVE = 2
"""Lines of values above bars that are cut."""


@dataclass(frozen=True)
class Bars:
    """One series."""

    name: str
    values: tuple[float | None, ...]
    """One per category; `None` draws nothing."""
    hollow: bool = False
    """Drawn as an outline."""

    @property
    def kind(self) -> str:
        """The class of its style."""
        return HOLLOW_BAR if self.hollow else BAR


@dataclass(frozen=True)
class BarChart:
    """What a bar chart shows."""

    title: str
    y_title: str
    x_title: str
    categories: tuple[str, ...]
    series: tuple[Bars, ...]
    references: tuple[Reference, ...] = ()
    exclusive: bool = False
    """No category has a bar of two series, so that none has to make room."""
    ceiling: float | None = None
    """Higher bars are cut there, visibly, and their values written above."""

    @property
    def entries(self) -> list[Entry]:
        """The legend."""
        return legend([(bars.name, bars.kind) for bars in self.series], self.references)

    @property
    def bars(self) -> Iterator[tuple[int, int, float]]:
        """Category, series and value of every bar, from left to right."""
        for place in range(len(self.categories)):
            for number, bars in enumerate(self.series):
                value = bars.values[place]
                if value is not None:
                    yield place, number, value

    def is_cut(self, value: float, axis: Axis) -> bool:
        """Whether a bar of that value does not end within the axis."""
        return self.ceiling is not None and value > axis.high * (1 + 1e-9)


def draw_bars(chart: BarChart) -> tuple[ET.Element, float]:
    """The chart as a group, and its height."""
    group = element("g")
    top = head(group, chart.title, chart.entries, chart.y_title)
    values = [value for _, _, value in chart.bars] + [level.value for level in chart.references]
    shown = values if chart.ceiling is None else [min(value, chart.ceiling) for value in values]
    axis = linear([0.0, *shown])
    cut = [(place, value) for place, _, value in chart.bars if chart.is_cut(value, axis)]
    box = plot_box(axis, top + (ROWS_ABOVE * (ROW - 4) if cut else 0))
    y_ticks(group, axis, box)
    for place, number, value in chart.bars:
        group.extend(_bar(chart, place, number, value, axis, box))
    zero = box.y(axis.share(0))
    group.append(element("line", class_="axis", x1=box.left, y1=zero, x2=box.right, y2=zero))
    _values_above(group, cut, box, len(chart.categories))
    references(group, chart.references, axis, box)
    _category_labels(group, chart.categories, box)
    return group, x_title(group, chart.x_title, box)


def _bar(chart: BarChart, place: int, number: int, value: float, axis: Axis, box: Box) -> list[ET.Element]:
    slot = (box.right - box.left) / len(chart.categories)
    shares = 1 if chart.exclusive else len(chart.series)
    width = 0.8 * slot / shares
    left = box.left + slot * (place + 0.1) + (0 if chart.exclusive else number * width)
    ends = box.y(axis.share(0)), box.y(axis.share(value))
    name = f", {chart.series[number].name}" if len(chart.series) > 1 else ""
    told = element("title", text=f"{chart.x_title} {chart.categories[place]}{name}: {short(value)}")
    style = series_class(number, chart.series[number].kind)
    height = abs(ends[0] - ends[1])
    bar = element("rect", told, class_=style, x=left, y=min(ends), width=width, height=height)
    if not chart.is_cut(value, axis):
        return [bar]
    y = box.top + 12
    return [bar, element("line", class_="break", x1=left - 2, y1=y + 3, x2=left + width + 2, y2=y - 3)]


def _values_above(group: ET.Element, cut: Sequence[tuple[int, float]], box: Box, num_categories: int) -> None:
    """The values of bars that are cut, as far as there is room; the others can be pointed at."""
    ends = [box.left - 100.0] * ROWS_ABOVE
    for place, value in cut:
        text = short(value)
        half = text_width(text) / 2
        middle = box.x((place + 0.5) / num_categories)
        row = next((row for row, end in enumerate(ends) if middle - half > end + 4), None)
        if row is not None:
            ends[row] = middle + half
            y = box.top - 5 - row * (ROW - 4)
            group.append(element("text", text=text, x=middle, y=y, text_anchor="middle"))


def _category_labels(group: ET.Element, categories: Sequence[str], box: Box) -> None:
    """Every label, or every second, fifth, tenth ..., so that they do not touch."""
    slot = (box.right - box.left) / len(categories)
    widest = min(110.0, max(text_width(text) for text in categories))
    every = next(lead * 10**power for power in range(10) for lead in (1, 2, 5) if lead * 10**power * slot >= widest + 6)
    for place in range(0, len(categories), every):
        text = fitted(categories[place], every * slot - 6)
        x, y = box.left + slot * (place + 0.5), box.bottom + FONT + 4
        group.append(element("text", text=text, x=x, y=y, text_anchor="middle"))
