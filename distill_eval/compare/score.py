"""Score intervals for means, differences and ratios of paired values of limited range.

The one idea: for a hypothetical mean, find the distribution over the possible values that fits the documents best
among all with that mean, and measure the distance of the sample mean in its standard errors. The standard error is
thus that of the hypothesis, not of the sample, so it does not vanish when all documents agree.

For 0/1 values this is the score test of a multinomial, whose published special cases are: one proportion (Wilson
1927), the difference of paired proportions (Tango 1998, Statistics in Medicine 17:891-908) and their ratio (Nam and
Blackwelder 2002, Statistics in Medicine 21:689-699; Tang, Tang and Chan 2003, Statistics in Medicine 22:1217-1233).
For other values of limited range the same equations hold with a support point per document and the corners of the
range as points that no document has shown yet.

How it is solved: the fitted weights are `share / (1 + slope * (value - guess))`, and then the squared statistic is
`count * slope * (mean - guess)`. Setting that to the critical value leaves one unknown and one convex equation: the
weights sum to 1 (see `_multiplier`).

Shapes: R comparisons (a simulation passes thousands), K support points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MAX_STEPS = 200
"""More safeguarded Newton steps than any case needs: bisection alone ends after about 60."""


class Support(NamedTuple):
    """Where pairs of scores can lie, and the share of the documents that lies there."""

    student: Floats
    """Shape (R, K)."""
    teacher: Floats
    """Shape (R, K)."""
    share: Floats
    """Shape (R, K); rows sum to 1; 0 at points that are possible but were not seen."""
    num_docs: Floats
    """Shape (R,): documents, or their effective number where documents have unequal weights."""


def mean_interval(support: Support, student: float, teacher: float, limit: Floats) -> tuple[Floats, Floats]:
    """Score interval for the mean of `student * s + teacher * t`.

    Args:
        support: The documents.
        student: Coefficient of the student's score.
        teacher: Coefficient of the teacher's score.
        limit: Critical value of the squared statistic per comparison, e.g. 1.96**2; shape (R,).

    Returns:
        Lower and upper ends, shape (R,).
    """
    value = student * support.student + teacher * support.teacher
    mean = (support.share * value).sum(axis=-1)
    step = limit / support.num_docs
    base = np.broadcast_to(1.0 + step[:, None], value.shape)
    rise, fall = (_multiplier(base, sign * (value - mean[:, None]), support.share) for sign in (1.0, -1.0))
    return mean - step / rise, mean + step / fall


def ratio_interval(support: Support, chance: Floats, limit: Floats) -> tuple[Floats, Floats]:
    """Score interval for `(student - chance) / (teacher - chance)`: the ratios r that are not rejected.

    The hypothesis about r is that `(s - chance) - r * (t - chance)` has mean zero, so that with chance 0 the
    interval's lower end is above r exactly when the interval of the mean of `s - r * t` is above 0.

    Returns:
        Lower and upper ends, shape (R,); infinite where the teacher's mean is not distinguishable from chance or is
        below it.
    """
    student, teacher = support.student - chance[:, None], support.teacher - chance[:, None]
    top, bottom = (support.share * student).sum(axis=-1), (support.share * teacher).sum(axis=-1)
    above = bottom > 0
    safe = np.where(above, bottom, 1.0)
    ratio, step = top / safe, limit / support.num_docs / safe
    base = 1.0 + step[:, None] * teacher
    above &= (base > 0).all(axis=-1)
    base = np.where(above[:, None], base, 1.0)
    above &= (support.share / base).sum(axis=-1) < 1.0
    value = student - ratio[:, None] * teacher
    rise, fall = (_multiplier(base, sign * value, support.share) for sign in (1.0, -1.0))
    rise, fall = np.where(above, rise, 1.0), np.where(above, fall, 1.0)
    return np.where(above, ratio - step / rise, -np.inf), np.where(above, ratio + step / fall, np.inf)


def _multiplier(base: Floats, value: Floats, share: Floats) -> Floats:
    """The positive m at which the weights `share / (base + m * value)` sum to 1, or the end of m's domain.

    The sum is convex in m and below 1 at 0. When it is still below 1 at the largest m for which every support point
    keeps a weight of at least zero, the rest of the weight lies on the point that limits m, which no document showed.
    Newton steps on the reciprocal of the sum (nearly linear close to a pole), kept inside a shrinking bracket.

    Returns:
        Shape (R,); infinite where no support point has a negative value.
    """
    falling = value < -1e-14 * np.abs(value).max(axis=-1, keepdims=True)
    end = np.where(falling, base / np.where(falling, -value, 1.0), np.inf).min(axis=-1)
    seen = share > 0

    def total(multiplier: Floats) -> tuple[Floats, Floats]:
        weight = np.where(seen, base + multiplier[:, None] * value, 1.0)
        ratio = share / np.where(weight > 0, weight, np.finfo(float).tiny)
        with np.errstate(over="ignore", invalid="ignore"):
            return ratio.sum(axis=-1), -(ratio * value / weight).sum(axis=-1)

    bounded = np.where(np.isfinite(end), end, 0.0)
    settled = total(bounded * (1.0 - 1e-15))[0] <= 1.0
    low, high, multiplier = np.zeros_like(bounded), bounded, 0.5 * bounded
    for _ in range(MAX_STEPS):
        value_here, slope = total(multiplier)
        low, high = np.where(value_here < 1.0, multiplier, low), np.where(value_here < 1.0, high, multiplier)
        step = multiplier + value_here * (1.0 - value_here) / np.where(slope > 0, slope, 1.0)
        new = np.where((slope > 0) & (step >= low) & (step <= high), step, 0.5 * (low + high))
        done = np.abs(new - multiplier) <= 1e-11 * new
        multiplier = new
        if np.all(done | settled):
            break
    return np.where(settled, end, multiplier)
