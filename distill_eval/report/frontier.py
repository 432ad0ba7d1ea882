"""Which variants no other beats in size, speed and retention, and which of them to ship (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from distill_eval.schema.gate import RuleResult
from distill_eval.schema.report import Speed, Variant
from distill_eval.schema.retention import Verdict, worst

NOT_FOR_SHIPPING = "a baseline is not for shipping"


class Point(NamedTuple):
    """Where a variant stands."""

    size_bytes: int
    speedup: float
    retention: float


def speed_at(row: Variant, load: str | None) -> Speed | None:
    """The variant under that load; `None` where it was not measured."""
    return next((speed for speed in row.speeds if speed.load == load), None)


def point(row: Variant, load: str | None) -> Point | None:
    """Where a variant stands, by its estimates; `None` where one of the three was not measured, and for a baseline.

    The teacher has a speedup of 1, being what speedups are over.
    """
    speed, size, kept = speed_at(row, load), row.size_bytes, row.retention.value
    if row.role == "baseline" or size is None or speed is None or kept is None:
        return None
    if row.role == "teacher":
        return Point(size, 1.0, kept)
    return Point(size, speed.speedup.value, kept) if speed.speedup is not None else None


def beats(one: Point, other: Point) -> bool:
    """Whether one is at least as good in all three, and better in one."""
    good = one.size_bytes <= other.size_bytes and one.speedup >= other.speedup and one.retention >= other.retention
    return good and one != other


def beaten_by(row: Variant, rows: Sequence[Variant], load: str | None) -> list[str]:
    """Names of the variants that beat this one."""
    own = point(row, load)
    points = [(other.name, point(other, load)) for other in rows if other is not row]
    return [name for name, its in points if own is not None and its is not None and beats(its, own)]


def with_frontier(rows: Sequence[Variant], load: str | None) -> tuple[Variant, ...]:
    """The rows, each with whether it is on the frontier."""
    return tuple(_placed(row, rows, load) for row in rows)


def _placed(row: Variant, rows: Sequence[Variant], load: str | None) -> Variant:
    if point(row, load) is None:
        why = {"on_frontier": NOT_FOR_SHIPPING} if row.role == "baseline" else {}
        return replace(row, on_frontier=None, reasons=row.reasons | why)
    reasons = {field: why for field, why in row.reasons.items() if field != "on_frontier"}
    return replace(row, on_frontier=not beaten_by(row, rows, load), reasons=reasons)


def status(row: Variant, gate: Sequence[RuleResult]) -> Verdict | None:
    """The verdict over tasks and over the rules of the gate: PASS only if all are; `None` where nothing was judged."""
    if row.verdict is None:
        return None
    return worst([row.verdict, *(result.verdict for result in gate if result.student == row.name)])


def passing(rows: Sequence[Variant], gate: Sequence[RuleResult]) -> list[Variant]:
    """Students that pass on every task, and every rule of the gate."""
    return [row for row in rows if row.role == "student" and status(row, gate) == "PASS"]


def choose(rows: Sequence[Variant], load: str | None, gate: Sequence[RuleResult]) -> Variant | None:
    """Of those that pass the fastest under that load, then the smallest, then the one that keeps most.

    So none that passes beats it. One whose speedup is not known comes after those whose is.
    """
    return max(passing(rows, gate), key=lambda row: worth(row, load), default=None)


def worth(row: Variant, load: str | None) -> tuple[float, float, float]:
    """The order in which variants are preferred, the best being the greatest."""
    speed = speed_at(row, load)
    fast = speed.speedup.value if speed is not None and speed.speedup is not None else 0.0
    return fast, -(row.size_bytes or float("inf")), row.retention.value or 0.0
