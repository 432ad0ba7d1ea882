"""What distillation bought: a student against its baseline, the same student trained without a teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple
from zlib import crc32

import numpy as np

from distill_eval.compare.entries import estimate, judge
from distill_eval.compare.evidence import Sampled
from distill_eval.compare.gap import Gap, resampled_gap, sampled_gap
from distill_eval.compare.measure import Measured
from distill_eval.compare.significance import holm, outcome
from distill_eval.record import digits
from distill_eval.schema.retention import Bought, Criterion, Entry, Estimate


class Against(NamedTuple):
    """Two models measured against one baseline, under one metric of one task or group."""

    student: Measured
    """The student, with the baseline in the place of the teacher."""
    teacher: Measured
    """The teacher, with the baseline in its place."""


def bought_of(against: Against, baseline_ref: str, criterion: Criterion, *, name: str, seed: int) -> Bought:
    """What the student has of its teacher that its baseline has not.

    Args:
        against: Student and teacher against the baseline.
        baseline_ref: The baseline's name.
        criterion: Its level is that of the intervals.
        name: Of task, metric and filter: a bootstrap's randomness comes from it and the seed.
        seed: Of the bootstrap.
    """
    student, teacher = judge(against.student, criterion), judge(against.teacher, criterion)
    return Bought(
        baseline_ref=baseline_ref,
        baseline=student.teacher,
        difference=student.difference,
        gap=teacher.difference,
        gap_recovered=_recovered(against, teacher.difference, criterion.level, name, seed),
        test=against.student.test,
        p_value=digits(against.student.p_value),
        p_adjusted=None,
        outcome=None,
    )


def _recovered(against: Against, gap: Estimate, level: float, name: str, seed: int) -> Estimate:
    """The share of the gap that was recovered; `None` with the reason where there is no gap to recover."""
    measured = against.teacher
    end = gap.ci_low if measured.higher_is_better else gap.ci_high
    if gap.value is None or end is None:
        return Estimate(value=None, reason=gap.reason)
    num_docs = f"{measured.num_pairs:,} documents"
    no_gap = Estimate(
        value=None,
        reason=f"the baseline cannot be told from the teacher on these {num_docs}: there is no gap to recover",
    )
    sign = 1.0 if measured.higher_is_better else -1.0
    if sign * end <= 0:
        other = gap.ci_high if measured.higher_is_better else gap.ci_low
        if other is not None and sign * other < 0:
            return Estimate(value=None, reason="the baseline is better than the teacher: there is no gap to recover")
        return no_gap
    found = _gap(against, level, name, seed)
    if isinstance(found, str):
        return Estimate(value=None, reason=found)
    interval = found.recovered(level)
    if not all(math.isfinite(float(part[0])) for part in (interval.value, interval.low, interval.high)):
        return no_gap
    return estimate(interval, f"these {num_docs} show no variance to make an interval from")


def _gap(against: Against, level: float, name: str, seed: int) -> Gap | str:
    """The evidence about all three models, or why there is none."""
    student, teacher = against
    if student.evidence is None or teacher.evidence is None:
        return student.reason or teacher.reason or "there is no evidence"
    if student.items:
        items = [
            (baseline, of_teacher, of_student)
            for (baseline, of_student), (_, of_teacher) in zip(student.items, teacher.items, strict=True)
        ]
        rng = np.random.default_rng([seed, crc32(f"{name}/gap".encode())])
        return resampled_gap(
            items, student.aggregation, higher_is_better=student.higher_is_better, level=level, rng=rng
        )
    assert isinstance(student.evidence, Sampled)
    assert isinstance(teacher.evidence, Sampled), "no verdict rests on a perplexity, and corpus metrics have items"
    return sampled_gap(student.evidence, teacher.evidence, higher_is_better=student.higher_is_better)


def adjusted(entries: Sequence[Entry], level: float) -> list[Entry]:
    """The entries with Holm's adjustment of the student against its baseline, over the primary ones."""
    p_values = holm([entry.bought.p_value if entry.bought is not None else None for entry in entries])
    found = []
    for entry, p_value in zip(entries, p_values, strict=True):
        bought = entry.bought
        if bought is not None and p_value is not None:
            found_out = outcome(bought.difference, p_value, level, higher_is_better=entry.higher_is_better)
            bought = replace(bought, p_adjusted=digits(p_value), outcome=found_out)
        found.append(replace(entry, bought=bought))
    return found
