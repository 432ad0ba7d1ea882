"""The mean of estimates that are independent of each other, with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from distill_eval.record import digits
from distill_eval.report import numbers
from distill_eval.schema.retention import Estimate


def average(estimates: Sequence[Estimate], missing: str, num_tasks: int = 0) -> Estimate:
    """The unweighted mean of those that have a value.

    Variances of independent estimates add: the mean's standard error is `sqrt(sum of squares) / k`. Its interval is
    made of the distances from each estimate to the ends of its own interval, which take the place of the standard
    errors on either side (MOVER: Zou, Huang and Zhang 2009, Computational Statistics & Data Analysis 53:1080-1085), so
    that intervals that are not symmetric stay so. For symmetric ones the two are the same.

    Args:
        estimates: Of different tasks: no document counts in two.
        missing: Why there is no mean where none has a value.
        num_tasks: Tasks that the mean should be over; where it is over fewer, its reason says so.
    """
    known = [one for one in estimates if one.value is not None]
    if not known:
        reasons = list(dict.fromkeys(one.reason for one in estimates if one.reason))
        return Estimate(value=None, reason="; ".join(reasons) or missing)
    whole = max(num_tasks, len(estimates))
    part = f"over {len(known)} of {numbers.plural(whole, 'task')}" if len(known) < whole else None
    if len(known) == 1:
        return replace(known[0], reason=_both(part, known[0].reason))
    values = [one.value for one in known if one.value is not None]
    num, mean = len(values), sum(values) / len(values)
    stderr = _root([one.stderr for one in known])
    below = _root([_distance(one.value, one.ci_low) for one in known])
    above = _root([_distance(one.value, one.ci_high) for one in known])
    why = next((one.reason for one in known if None in (one.stderr, one.ci_low, one.ci_high) and one.reason), None)
    unbounded = None in (stderr, below, above)
    return Estimate(
        value=digits(mean),
        stderr=None if stderr is None else digits(stderr / num),
        ci_low=None if below is None else digits(mean - below / num),
        ci_high=None if above is None else digits(mean + above / num),
        reason=_both(part, (why or "one of the tasks has no interval") if unbounded else None),
    )


def _both(*reasons: str | None) -> str | None:
    return "; ".join(reason for reason in reasons if reason) or None


def _distance(value: float | None, end: float | None) -> float | None:
    return None if value is None or end is None else end - value


def _root(parts: Sequence[float | None]) -> float | None:
    """The root of the sum of squares; `None` where a part is not known."""
    known = [part for part in parts if part is not None]
    return math.hypot(*known) if len(known) == len(parts) else None
