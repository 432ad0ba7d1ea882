"""From what was measured to the entries of `retention.json`."""

from __future__ import annotations

import math
from typing import NamedTuple

from distill_eval.compare.evidence import Evidence, Interval
from distill_eval.compare.groups import Key
from distill_eval.compare.looks import Looked
from distill_eval.compare.measure import Measured
from distill_eval.compare.power import docs_to_settle, planned_power, seen_power
from distill_eval.compare.sequential import AfterLooks
from distill_eval.compare.verdict import verdict_of
from distill_eval.record import DIGITS, digits
from distill_eval.schema.looks import Adaptive, Look
from distill_eval.schema.retention import Criterion, Entry, Estimate, Power


class Place(NamedTuple):
    """Where an entry stands in the comparison."""

    student_ref: str
    task: str
    """A task or a group."""
    key: Key
    primary: bool
    group: str | None


class Judged(NamedTuple):
    """The estimates of one entry."""

    teacher: Estimate
    student: Estimate
    difference: Estimate
    retention: Estimate
    above_chance: Estimate
    contrast: Estimate


def entry_of(measured: Measured, place: Place, criterion: Criterion) -> Entry:
    """Judge what was measured.

    Args:
        measured: One task or group under one metric.
        place: Its names.
        criterion: What a student must show.
    """
    judged = judge(measured, criterion)
    return Entry(
        student_ref=place.student_ref,
        task=place.task,
        metric=place.key[0],
        filter=place.key[1],
        kind=measured.kind,
        unit=measured.unit,
        higher_is_better=measured.higher_is_better,
        primary=place.primary,
        group=place.group,
        num_tasks=measured.num_tasks,
        num_pairs=measured.num_pairs,
        num_pairs_effective=digits(measured.num_effective) or float(measured.num_pairs),
        num_docs_total=measured.num_docs_total,
        chance=digits(measured.chance),
        teacher=judged.teacher,
        student=judged.student,
        difference=judged.difference,
        retention=judged.retention,
        retention_above_chance=judged.above_chance,
        contrast=judged.contrast,
        test=measured.test,
        p_value=digits(measured.p_value),
        p_adjusted=None,
        flips=measured.flips,
        power=_power(measured, judged, criterion, primary=place.primary),
        verdict=verdict_of(judged.contrast) if place.primary else None,
        lm_eval_teacher=measured.lm_eval_teacher,
        lm_eval_student=measured.lm_eval_student,
        lm_eval_reason=measured.lm_eval_reason,
    )


def judge(measured: Measured, criterion: Criterion) -> Judged:
    """The estimates of what was measured; see `Entry` for what each is."""
    evidence, level = measured.evidence, criterion.level
    if evidence is None:
        return _without_evidence(measured)
    why = _no_variance(measured)
    teacher, student, difference = (
        estimate(evidence.linear(*weights, level), why) for weights in ((0.0, 1.0), (1.0, 0.0), (1.0, -1.0))
    )
    better = _oriented(measured, evidence)
    standard = "teacher's" if measured.higher_is_better else "student's"
    return Judged(
        teacher=teacher,
        student=student,
        difference=difference,
        retention=_ratio(better, 0.0, level, standard),
        above_chance=_above_chance(measured, evidence, teacher, level),
        contrast=contrast_of(measured, criterion),
    )


def contrast_of(measured: Measured, criterion: Criterion) -> Estimate:
    """The quantity whose interval decides the verdict."""
    if measured.evidence is None:
        return Estimate(value=None, reason=measured.reason)
    share, margin = criterion.min_retention, criterion.margin or 0.0
    found = _oriented(measured, measured.evidence).linear(1.0, -1.0 if share is None else -share, criterion.level)
    shifted = Interval(found.value + margin, found.stderr, found.low + margin, found.high + margin)
    return estimate(shifted, _no_variance(measured))


def _oriented(measured: Measured, evidence: Evidence) -> Evidence:
    """Evidence in which more is better: where it is not, the roles are exchanged, and the student is the standard."""
    return evidence if measured.higher_is_better else evidence.inverse()


def _no_variance(measured: Measured) -> str:
    return f"{measured.num_pairs} document(s) show no variance to make an interval from"


def adaptive_of(measured: Measured, usual: Measured, looked: Looked, criterion: Criterion) -> Adaptive:
    """How the verdict came about, look by look.

    Args:
        measured: One task or group, valid at any look.
        usual: The same as if its number of documents had been fixed before.
        looked: How its documents were taken.
        criterion: What a student must show.
    """
    looks = []
    for place, num_docs in enumerate(looked.looks, start=1):
        evidence = measured.evidence
        if isinstance(evidence, AfterLooks):
            evidence = evidence.until(place)
        contrast = contrast_of(measured._replace(evidence=evidence), criterion)
        looks.append(Look(num_docs=num_docs, ci_low=contrast.ci_low, ci_high=contrast.ci_high))
    fixed = contrast_of(usual, criterion)
    return Adaptive(
        num_docs=looked.looks[-1],
        num_docs_total=len(looked.order),
        stopped="documents" if looked.exhausted else "verdict",
        looks=tuple(looks),
        usual_ci_low=fixed.ci_low,
        usual_ci_high=fixed.ci_high,
    )


def _without_evidence(measured: Measured) -> Judged:
    """The scores as lm-eval computed them, and why nothing is known about them."""
    teacher, student = measured.lm_eval_teacher, measured.lm_eval_student
    gap = None if teacher is None or student is None else student - teacher
    nothing = Estimate(value=None, reason=measured.reason)

    def score(value: float | None) -> Estimate:
        why = measured.reason if value is not None else measured.lm_eval_reason
        return Estimate(value=value, reason=why or measured.reason)

    return Judged(
        teacher=score(teacher),
        student=score(student),
        difference=Estimate(value=digits(gap), reason=measured.reason),
        retention=nothing,
        above_chance=nothing,
        contrast=nothing,
    )


def _ratio(evidence: Evidence, chance: float, level: float, standard: str) -> Estimate:
    found = evidence.ratio(chance, level)
    if math.isnan(float(found.value[0])):
        return Estimate(
            value=None, reason=f"the {standard} score is not above {chance:g}, so a ratio to it is undefined"
        )
    return estimate(found, f"the {standard} score cannot be told from {chance:g}, so the interval has no bounds")


def _above_chance(measured: Measured, evidence: Evidence, teacher: Estimate, level: float) -> Estimate:
    if measured.chance is None:
        lower = measured.kind == "binary" and not measured.higher_is_better
        where = "where lower is better" if lower else "here"
        return Estimate(value=None, reason=f"guessing has no score {where}")
    if teacher.ci_low is None or teacher.ci_low <= measured.chance:
        return Estimate(value=None, reason=f"the teacher cannot be told from guessing ({measured.chance:.4g})")
    return _ratio(evidence, measured.chance, level, "teacher's")


def estimate(found: Interval, why: str) -> Estimate:
    """The estimate with its undefined parts as `None`; `why` is kept where one is."""
    # First to a fixed place: what should be 0 is a few bits beside it, and has no significant digits.
    value, stderr, low, high = (digits(round(float(part[0]), DIGITS)) for part in found)
    known = None not in (value, stderr, low, high)
    return Estimate(value=value, stderr=stderr, ci_low=low, ci_high=high, reason=None if known else why)


def _power(measured: Measured, judged: Judged, criterion: Criterion, *, primary: bool) -> Power:
    """What could be known before the run, and what is known after it."""
    planned = planned_power(measured.num_pairs, kind=measured.kind, level=criterion.level)
    drop, settle, reasons = None, None, [planned.reason]
    difference, contrast = judged.difference, judged.contrast
    if difference.value is None or difference.ci_low is None or difference.ci_high is None:
        reasons.append(f"after the run: {difference.reason}")
    else:
        half = max(difference.value - difference.ci_low, difference.ci_high - difference.value)
        drop = seen_power(half, level=criterion.level, power=planned.power)
        if measured.kind == "binary" and drop > 1.0:
            drop = None
            reasons.append(f"after the run: {measured.num_pairs} document(s) cannot show a drop of any size")
    if primary and verdict_of(contrast) == "INCONCLUSIVE" and measured.evidence is not None and contrast.value:
        end = contrast.ci_low if contrast.value > 0 else contrast.ci_high
        share = criterion.min_retention if criterion.min_retention is not None else 1.0
        weights = (1.0, -share) if measured.higher_is_better else (-share, 1.0)
        if end is not None:
            within = measured.evidence.within_share(*weights)
            settle = docs_to_settle(measured.num_pairs, value=contrast.value, end=end, within_share=within)
    return Power(
        power=planned.power,
        planned_detectable_drop=planned.planned_detectable_drop,
        planned_discordance=planned.planned_discordance,
        detectable_drop=digits(drop),
        num_docs_to_settle=settle,
        reason="; ".join(reason for reason in reasons if reason) or None,
    )
