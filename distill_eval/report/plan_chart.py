"""The chart of a plan: what published students kept, how much smaller they are, and where the planned one stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.etree import ElementTree as ET

from distill_eval.report.axes import Axis, linear, logarithmic, tick_labels
from distill_eval.report.frame import (
    BAR,
    HOLLOW_BAR,
    LINE,
    REFERENCE,
    Box,
    Entry,
    head,
    plot_box,
    series_class,
    x_title,
    y_ticks,
)
from distill_eval.report.plan_values import shown, spread
from distill_eval.report.svg import FONT, element, number, picture
from distill_eval.schema.plan import Anchor, Figure, Plan

METHODS = ("logit", "feature", "attention", "response", "progressive")
"""Each has a color; the planned student has the one after them."""
OWN = len(METHODS)
PLOT_HEIGHT = 260
RADIUS = 4.0


class Expected(NamedTuple):
    """The fit of the published results at one size."""

    compression: float
    value: float
    low: float
    high: float


class Kept(NamedTuple):
    """One of the reader's own students."""

    name: str
    compression: float
    retention: float


def draw(plan: Plan, fit: Sequence[Expected] = (), own: Sequence[Kept] = ()) -> str:
    """The picture; the same records give the same bytes.

    Args:
        plan: What is planned.
        fit: The fit for a student of its kind and method, by ascending size, as far as their published results reach.
        own: The reader's finished runs.
    """
    used = [one for one in plan.retained.anchors if one.left_out is None]
    title = f"Kept by {len(used)} published students, by how much smaller they are"
    told = f"Retention in percent against the teacher's parameters over the student's. {_told(plan)}"
    return picture(title, told, [_chart(plan, used, fit, own, title)])


def _told(plan: Plan) -> str:
    figure = plan.retained.fit
    where = f"{plan.students[0].compression:.3g} times smaller"
    return f"The planned student, {where}: {shown(figure)} {spread(figure)}".rstrip() + "."


def _chart(
    plan: Plan, used: Sequence[Anchor], fit: Sequence[Expected], own: Sequence[Kept], title: str
) -> tuple[ET.Element, float]:
    compression, planned = plan.students[0].compression, plan.retained.fit
    group = element("g")
    points = [(one.compression, one.retention) for one in used] + [(one.compression, one.retention) for one in own]
    sizes = [compression, 1.0, *(size for size, _ in points), *(one.compression for one in fit)]
    kept = [share for _, share in points] + [end for one in fit for end in (one.low, one.high)]
    kept += [end for end in (planned.value, planned.low, planned.high) if end is not None]
    x_axis, y_axis = logarithmic(sizes), linear([100 * one for one in kept] or [0.0, 100.0])
    box = plot_box(
        y_axis, head(group, title, _entries(plan, used, fit, own), "kept, in percent of the teacher's score")
    )
    box = box._replace(bottom=box.top + PLOT_HEIGHT)
    y_ticks(group, y_axis, box)
    for tick, text in zip(x_axis.ticks, tick_labels(x_axis.ticks), strict=True):
        x = box.x(x_axis.share(tick))
        group.append(element("line", class_="grid", x1=x, y1=box.top, x2=x, y2=box.bottom))
        group.append(element("text", text=text, x=x, y=box.bottom + FONT + 5, text_anchor="middle"))
    place = _Place(x_axis, y_axis, box)
    group.extend(_band(fit, place))
    group.extend(_published(used, place))
    for run in own:
        group.append(place.spot(run.name, run.compression, run.retention, OWN, HOLLOW_BAR))
    group.extend(_planned(compression, planned, place))
    return group, x_title(group, "times smaller (parameters, teacher over student)", box)


def _entries(plan: Plan, used: Sequence[Anchor], fit: Sequence[Expected], own: Sequence[Kept]) -> list[Entry]:
    there = {one.method for one in used}
    found = [Entry(method, BAR, place) for place, method in enumerate(METHODS) if method in there]
    found += [Entry("fit for this kind and method, with its 80 % interval", LINE, OWN)] if fit else []
    found += [Entry("your own runs", HOLLOW_BAR, OWN)] if own else []
    named = "the planned student" if plan.retained.fit.value is not None else "the planned student's size"
    return [*found, Entry(named, REFERENCE if plan.retained.fit.value is None else BAR, OWN)]


class _Place(NamedTuple):
    """Where values are drawn."""

    x_axis: Axis
    y_axis: Axis
    box: Box

    def at(self, compression: float, retention: float) -> tuple[float, float]:
        """The point of a student."""
        return self.box.x(self.x_axis.share(compression)), self.box.y(self.y_axis.share(100 * retention))

    def spot(self, name: str, compression: float, retention: float, number: int, kind: str) -> ET.Element:
        """A student, with its numbers under the mouse."""
        x, y = self.at(compression, retention)
        told = element("title", text=f"{name}: {compression:.3g} times smaller, {100 * retention:.1f} % kept")
        return element("circle", told, class_=series_class(number, kind), cx=x, cy=y, r=RADIUS)


def _band(fit: Sequence[Expected], place: _Place) -> Iterator[ET.Element]:
    """The line of the fit, and its interval as an area."""
    if not fit:
        return
    above = [place.at(one.compression, one.high) for one in fit]
    below = [place.at(one.compression, one.low) for one in fit]
    middle = [place.at(one.compression, one.value) for one in fit]
    area = _path([*above, *below[::-1]])
    yield element("polygon", class_=series_class(OWN, BAR), points=area, fill_opacity="0.12", stroke_opacity="0")
    yield element("polyline", class_=series_class(OWN, LINE), points=_path(middle))


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{number(x)},{number(y)}" for x, y in points)


def _published(used: Sequence[Anchor], place: _Place) -> Iterator[ET.Element]:
    for one in used:
        name = f"{one.teacher} to {one.student} ({one.method})"
        yield place.spot(name, one.compression, one.retention, METHODS.index(one.method), BAR)


def _planned(compression: float, figure: Figure, place: _Place) -> Iterator[ET.Element]:
    """A line at its size, and a point with a whisker where the published results reach."""
    x, box = place.box.x(place.x_axis.share(compression)), place.box
    yield element("line", class_=series_class(OWN, REFERENCE), x1=x, y1=box.top, x2=x, y2=box.bottom)
    if figure.value is None:
        return
    if figure.low is not None and figure.high is not None:
        ends = [place.at(compression, end)[1] for end in (figure.low, figure.high)]
        yield element("line", class_=series_class(OWN, BAR), x1=x, y1=ends[0], x2=x, y2=ends[1], stroke_width=2)
    spot = place.spot("the planned student", compression, figure.value, OWN, BAR)
    spot.set("r", number(1.5 * RADIUS))
    yield spot
