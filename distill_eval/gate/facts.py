"""What the rules are judged by: one student's measurements, whatever artifact they stand in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from distill_eval.record import digits
from distill_eval.schema.diff import TaskChange
from distill_eval.schema.report import Speed
from distill_eval.schema.retention import Criterion, Entry, Retention


class Compared(NamedTuple):
    """An entry that carries a verdict, and what it was asked to show."""

    entry: Entry
    criterion: Criterion


class Facts(NamedTuple):
    """One student."""

    student: str
    """Name in the table."""
    size_ratio: float | None = None
    """Bytes of its weights over the teacher's."""
    criterion: Criterion | None = None
    """What the comparison asks for where no rule does; `None` without a comparison."""
    compared: Sequence[Compared] = ()
    unasked: Sequence[str] = ()
    """Tasks on which others were judged and it was not."""
    speeds: Sequence[Speed] = ()
    changes: Sequence[TaskChange] = ()
    """Against the student before."""
    uncompared: Sequence[tuple[str | None, str]] = ()
    """Tasks of the student before (`None`: all of them) that nothing after was held against, each with why."""


def of_retention(retention: Retention, names: Mapping[str, str]) -> list[Facts]:
    """Each student of a comparison; `names` has the short ones."""
    whole = retention.teacher.size_bytes
    return [
        Facts(
            student=names.get(student.ref, student.ref),
            size_ratio=digits(student.size_bytes / whole) if whole else None,
            criterion=retention.criterion,
            compared=compared(retention, student.ref),
        )
        for student in retention.students
    ]


def compared(retention: Retention, ref: str) -> list[Compared]:
    """The entries that a student's verdict rests on."""
    return [
        Compared(entry, retention.criterion)
        for entry in retention.entries
        if entry.primary and entry.student_ref == ref
    ]
