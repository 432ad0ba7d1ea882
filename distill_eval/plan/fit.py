"""Ordinary least squares over few points, and how far off the fit is where it did not look.

Written with numpy: statsmodels, which the tests compare it with, takes seconds to import.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from distill_eval.errors import require
from distill_eval.record import record

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.8
"""Of every prediction interval of a plan: wide enough to be honest, narrow enough to decide by."""


@record
class Fit:
    """A fitted line in several terms."""

    coefficients: tuple[float, ...]
    unscaled: tuple[tuple[float, ...], ...]
    """The inverse of X'X: the coefficients' covariance but for `variance`."""
    variance: float
    """Of one observation around the line."""
    num_points: int
    quantile: float
    """Of Student's t at `LEVEL`, with as many degrees of freedom as there are points beyond coefficients."""
    left_out: tuple[float, ...]
    """Each point as the fit without it predicts it."""
    held_at: tuple[float, ...]
    """Of each point the level at which the prediction interval of the fit without it just holds it; empty where that
    fit has no spread."""

    def stderr(self, index: int) -> float:
        """Of a coefficient."""
        return math.sqrt(self.variance * self.unscaled[index][index])


def ordinary(rows: Sequence[Sequence[float]], values: Sequence[float]) -> Fit:
    """The least-squares fit of `values` on `rows`; prediction without a point by its leverage (Cook and Weisberg 1982).

    Raises:
        UsageError: there is no point more than coefficients, or two terms are the same on all points.
    """
    import numpy as np

    X, y = np.asarray(rows, dtype=float), np.asarray(values, dtype=float)
    num_points, num_terms = X.shape
    free = num_points - num_terms
    require(free >= 1, f"{num_points} points do not fit {num_terms} coefficients with a spread: expected one more")
    require(int(np.linalg.matrix_rank(X)) == num_terms, "two terms of the fit are the same on all points")
    unscaled = np.linalg.inv(X.T @ X)
    coefficients = unscaled @ X.T @ y
    residuals = y - X @ coefficients
    left_out, held_at = _without_each(X, y, unscaled, residuals, free)
    return Fit(
        coefficients=tuple(map(float, coefficients)),
        unscaled=tuple(tuple(map(float, row)) for row in unscaled),
        variance=float(residuals @ residuals) / free,
        num_points=num_points,
        quantile=_quantile(LEVEL, free),
        left_out=left_out,
        held_at=held_at,
    )


def _without_each(
    X: np.ndarray, y: np.ndarray, unscaled: np.ndarray, residuals: np.ndarray, free: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What the fits without each point say of it, from the one with all: a residual grows by 1 / (1 - leverage)."""
    import numpy as np
    from scipy.special import stdtr

    rest = 1 - np.einsum("ij,jk,ik->i", X, unscaled, X)
    left_out = tuple(map(float, y - residuals / rest))
    if free < 2:
        return left_out, ()
    others = (residuals @ residuals - residuals**2 / rest) / (free - 1)
    studentized = np.abs(residuals) / np.sqrt(others * rest)
    return left_out, tuple(map(float, 2 * stdtr(free - 1, studentized) - 1))


def _quantile(level: float, free: int) -> float:
    """How many standard errors a two-sided interval reaches."""
    from scipy.special import stdtrit

    return float(stdtrit(free, (1 + level) / 2))


def predicted(row: Sequence[float], fit: Fit) -> tuple[float, float]:
    """The value of a new observation, and half the width of its prediction interval at `LEVEL`."""
    value, leverage = 0.0, 0.0
    for i, term in enumerate(row):
        value += term * fit.coefficients[i]
        for j, other in enumerate(row):
            leverage += term * fit.unscaled[i][j] * other
    return value, fit.quantile * math.sqrt(fit.variance * (1 + leverage))
