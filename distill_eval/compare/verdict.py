"""The criterion, the verdict on a task, and the verdict on a student."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from distill_eval.errors import require
from distill_eval.record import digits
from distill_eval.schema.evals import MetricKind
from distill_eval.schema.retention import Criterion, Entry, Estimate, StudentVerdict, Verdict, worst


def check_criterion(criterion: Criterion) -> None:
    """Raise `UsageError` unless exactly one of the two conditions is set and everything is in its range."""
    level, share, margin = criterion.level, criterion.min_retention, criterion.margin
    require(0 < level < 1, f"--level is {level}: expected a number between 0 and 1, such as 0.95")
    require((share is None) != (margin is None), "give either --min-retention or --margin, not both and not neither")
    require(
        share is None or 0 < share <= 1,
        f"--min-retention is {share}: expected a share above 0, at most 1, such as 0.95",
    )
    require(
        margin is None or 0 <= margin < math.inf, f"--margin is {margin}: expected a number of at least 0, such as 0.02"
    )


def check_margin(criterion: Criterion, kinds: Mapping[str, MetricKind]) -> None:
    """Raise `UsageError` where the margin would pass every student: 1 or more of a share.

    Args:
        criterion: What a student must show.
        kinds: By task or group, the kind of the metric that carries its verdict.
    """
    margin = criterion.margin or 0.0
    shares = [task for task, kind in kinds.items() if kind == "binary"]
    named = f"{', '.join(shares[:3])} {'is' if len(shares) == 1 else 'are'}"
    require(
        margin < 1 or not shares,
        f"--margin {margin:g}: {named} scored from 0 to 1, so every student would pass. Expected less than 1; for "
        f"{margin:g} points type --margin {margin / 100:g}",
    )


def allowed_loss(criterion: Criterion, teacher: float | None, *, higher_is_better: bool) -> float | None:
    """The largest loss that the criterion allows, in the metric's unit, if the teacher's true score is as estimated."""
    if criterion.min_retention is None or teacher is None:
        return criterion.margin
    if higher_is_better:
        return (1.0 - criterion.min_retention) * teacher
    return teacher / criterion.min_retention - teacher


def verdict_of(contrast: Estimate) -> Verdict:
    """PASS if the whole interval of the contrast is above 0, FAIL if it is below, else INCONCLUSIVE."""
    if contrast.ci_low is not None and contrast.ci_low > 0:
        return "PASS"
    if contrast.ci_high is not None and contrast.ci_high < 0:
        return "FAIL"
    return "INCONCLUSIVE"


def student_verdict(student_ref: str, entries: Sequence[Entry]) -> StudentVerdict:
    """One student's verdict over its primary entries: PASS only if every one passes, FAIL if any fails.

    No adjustment for the number of tasks is needed: a student that misses the criterion on any task passes overall
    only by passing that task wrongly (intersection-union test; Berger 1982, Technometrics 24:295-300).
    """
    primary = [entry for entry in entries if entry.primary]
    verdicts = [entry.verdict for entry in primary]
    kept = [(entry.retention.value, entry.task) for entry in primary if entry.retention.value is not None]
    least = min(kept, default=None)
    return StudentVerdict(
        student_ref=student_ref,
        verdict=worst(verdicts) or "PASS",
        num_pass=verdicts.count("PASS"),
        num_fail=verdicts.count("FAIL"),
        num_inconclusive=verdicts.count("INCONCLUSIVE"),
        mean_retention=digits(sum(value for value, _ in kept) / len(kept)) if kept else None,
        worst_task=least[1] if least else None,
        worst_retention=least[0] if least else None,
    )
