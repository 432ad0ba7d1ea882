"""The difference of two independent estimates, from the interval of each."""

from __future__ import annotations

import math

from distill_eval.record import digits
from distill_eval.schema.retention import Estimate

APART = "independent estimates"
"""The name of what gives their p-value."""


def difference_apart(before: Estimate, after: Estimate) -> Estimate:
    """After minus before, of independent estimates, with the interval made of theirs.

    The distances from each estimate to the ends of its own interval are added in squares (Newcombe 1998, Statistics
    in Medicine 17:873-890, method 10), so that a limited range keeps its effect.
    """
    if before.value is None or after.value is None:
        return Estimate(value=None, reason=before.reason or after.reason)
    difference = after.value - before.value
    ends = (before.ci_low, before.ci_high, after.ci_low, after.ci_high)
    low, high, new_low, new_high = ends
    if low is None or high is None or new_low is None or new_high is None:
        return Estimate(value=digits(difference), reason=before.reason or after.reason)
    stderr = None if before.stderr is None or after.stderr is None else math.hypot(before.stderr, after.stderr)
    return Estimate(
        value=digits(difference),
        stderr=digits(stderr),
        ci_low=digits(difference - math.hypot(after.value - new_low, high - before.value)),
        ci_high=digits(difference + math.hypot(new_high - after.value, before.value - low)),
        reason=before.reason or after.reason,
    )


def p_of_interval(difference: Estimate, level: float) -> float | None:
    """Two-sided p-value of no difference, below 1 - level exactly where the interval leaves 0 out.

    From the distance to the end that lies towards 0 (Altman and Bland 2011, BMJ 343:d2304).
    """
    from scipy.special import ndtr, ndtri

    value = difference.value
    end = difference.ci_low if value is not None and value > 0 else difference.ci_high
    if value is None or end is None or end == value:
        return None
    return float(2.0 * ndtr(-ndtri((1.0 + level) / 2.0) * value / (value - end)))
