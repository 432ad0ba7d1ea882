"""One figure of a plan beside what was measured."""

from __future__ import annotations

from distill_eval.schema.plan import Check, Figure

ALIKE = 0.05
"""Two students are of one size where their parameters differ by less."""


def check(what: str, planned: Figure, measured: float | None, source: str) -> Check:
    """One figure beside its measurement."""
    error = None if not measured or planned.value is None else planned.value / measured - 1
    ends = planned.low, planned.high
    inside = None
    if measured is not None and ends[0] is not None and ends[1] is not None:
        inside = ends[0] <= measured <= ends[1]
    return Check(what=what, planned=planned, measured=measured, error=error, inside=inside, source=source)
