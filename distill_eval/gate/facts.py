"""What the rules are judged by: one student's measurements, whatever artifact they stand in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from distill_eval.schema.diff import StudentChange, TaskChange
from distill_eval.schema.report import Speed, Variant
from distill_eval.schema.retention import Criterion, Entry, Retention

LEVEL = 0.95
"""Of intervals that no comparison sets the level of."""


class Facts(NamedTuple):
    """One student."""

    student: str
    """Name in the table."""
    size_ratio: float | None = None
    """Bytes of its weights over the teacher's."""
    criterion: Criterion | None = None
    """Of the comparison; `None` without one."""
    entries: Sequence[Entry] = ()
    """Those that carry a verdict."""
    speeds: Sequence[Speed] = ()
    changes: Sequence[TaskChange] = ()
    """Against the student before."""
    level: float = LEVEL


def of_retention(retention: Retention, names: Mapping[str, str]) -> list[Facts]:
    """Each student of a comparison; `names` has the short ones."""
    return [
        Facts(
            student=names.get(student.ref, student.ref),
            size_ratio=_ratio(student.size_bytes, retention.teacher.size_bytes),
            criterion=retention.criterion,
            entries=_judged(retention, student.ref),
            level=retention.criterion.level,
        )
        for student in retention.students
    ]


def of_variant(variant: Variant, retention: Retention | None) -> Facts:
    """A row of the report, with the comparison that judged it."""
    facts = Facts(student=variant.name, size_ratio=variant.size_ratio, speeds=variant.speeds)
    if retention is None:
        return facts
    return facts._replace(
        criterion=retention.criterion,
        entries=_judged(retention, variant.ref),
        level=retention.criterion.level,
    )


def of_change(change: StudentChange, level: float) -> Facts:
    """A student against the one before."""
    return Facts(student=change.name, changes=change.tasks, level=level)


def _judged(retention: Retention, ref: str) -> list[Entry]:
    return [entry for entry in retention.entries if entry.primary and entry.student_ref == ref]


def _ratio(size: int, whole: int) -> float | None:
    return float(f"{size / whole:.12g}") if whole else None
