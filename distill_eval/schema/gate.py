"""Rules that a student must keep to be shipped, and how each was judged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from distill_eval.record import record
from distill_eval.schema.retention import Estimate, Verdict, worst

RuleName = Literal["min-retention", "margin", "max-size-ratio", "min-speedup", "max-harmful-flips", "max-regression"]

KEPT: tuple[RuleName, ...] = ("min-retention", "margin")
"""Those on what is kept of the teacher: in a gate they take the place of a comparison's own criterion."""


@record
class Rule:
    """One bound."""

    name: RuleName
    """As the option says it. `min-retention`: student over teacher, task by task. `margin`: loss against the teacher,
    in the metric's own unit, task by task. `max-size-ratio`: bytes of the weights over the teacher's. `min-speedup`:
    output throughput over the teacher's, under each load. `max-harmful-flips`: share of a task's documents that the
    teacher got right and the student wrong. `max-regression`: loss against the student before, in the metric's own
    unit."""
    bound: float
    where: str | None = None
    """A task (or, of `min-speedup`, a load's label) for which this bound holds instead of the general one."""


@record
class RuleResult:
    """One rule on one student, in one place."""

    rule: Rule
    student: str
    """Name in the table."""
    where: str | None
    """The task or the load; `None` for a rule on the whole model."""
    observed: Estimate
    verdict: Verdict
    """From the interval: PASS if all of it keeps the bound, FAIL if none of it does, else (and where nothing was
    measured) INCONCLUSIVE."""
    text: str
    """The verdict's reason in one line."""


def overall(results: Iterable[RuleResult]) -> Verdict:
    """FAIL if any fails, INCONCLUSIVE if any is or if there is none, else PASS.

    No adjustment for their number is needed: a student that breaks a rule passes only by passing that one wrongly
    (intersection-union test; Berger 1982, Technometrics 24:295-300).
    """
    return worst([result.verdict for result in results]) or "INCONCLUSIVE"
