"""Weighted means over units (documents or tasks): their variance, their t interval, and Fieller's interval.

A unit is what varies independently: a document of a text, weighted by its bytes; or a whole task of a group such as
mmlu, whose documents resemble each other (clustered standard errors: Miller 2024, arXiv 2411.00640, section 2.2).

- Variance: the delete-one-unit jackknife, called CV3 for clusters (MacKinnon, Nielsen and Webb 2023, Journal of
  Applied Econometrics 38:671-694). With equal weights it is the textbook variance of a mean; with unequal weights it
  does not shrink when one heavy unit pulls the mean to itself, as the plain sandwich does.
- Degrees of freedom: Bell and McCaffrey (2002, Survey Methodology 28:169-181): those of the chi-squared that has the
  mean and variance of the variance estimate, for units whose variance is inverse to their weight. With equal weights
  it is the number of units minus 1.

Shapes: R comparisons (a simulation passes thousands), U units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Units(NamedTuple):
    """The scores of student and teacher on every unit."""

    student: Floats
    """Shape (R, U)."""
    teacher: Floats
    """Shape (R, U)."""
    weight: Floats
    """Shape (R, U); positive; rows sum to 1."""


class Moments(NamedTuple):
    """Two weighted means with their variances, each of shape (R,)."""

    student: Floats
    teacher: Floats
    var_student: Floats
    var_teacher: Floats
    covariance: Floats
    df: Floats
    """Degrees of freedom of the variances."""

    def mean(self, student: float, teacher: float) -> Floats:
        """Mean of the contrast `student * s + teacher * t`."""
        return student * self.student + teacher * self.teacher

    def variance(self, student: Floats | float, teacher: Floats | float) -> Floats:
        """Variance of the mean of the contrast `student * s + teacher * t`."""
        terms = student * student * self.var_student + teacher * teacher * self.var_teacher
        return np.maximum(terms + 2 * student * teacher * self.covariance, 0.0)


def moments(units: Units) -> Moments:
    """Weighted means, jackknife variances and degrees of freedom; NaN variances for a single unit."""
    weight = units.weight
    student, teacher = (weight * units.student).sum(axis=-1), (weight * units.teacher).sum(axis=-1)
    num_units = weight.shape[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = weight / (1.0 - weight)
        move_student = shift * (units.student - student[:, None])
        move_teacher = shift * (units.teacher - teacher[:, None])
        gain = shift / (1.0 - weight)
        total = (gain * weight).sum(axis=-1)
        spread = (gain**2 * (1.0 - 2.0 * weight)).sum(axis=-1) + total**2
        df = (gain.sum(axis=-1) - total) ** 2 / spread
    scale = (num_units - 1) / num_units if num_units > 1 else np.nan
    return Moments(
        student=student,
        teacher=teacher,
        var_student=scale * (move_student**2).sum(axis=-1),
        var_teacher=scale * (move_teacher**2).sum(axis=-1),
        covariance=scale * (move_student * move_teacher).sum(axis=-1),
        df=df,
    )


def t_interval(found: Moments, student: float, teacher: float, level: float) -> tuple[Floats, Floats]:
    """Student's t interval for the mean of `student * s + teacher * t`; equal weights give the paired t interval."""
    half = t_quantile(found.df, level) * np.sqrt(found.variance(student, teacher))
    mean = found.mean(student, teacher)
    return mean - half, mean + half


def fieller_interval(found: Moments, chance: Floats, level: float) -> tuple[Floats, Floats]:
    """Fieller's interval for `(student - chance) / (teacher - chance)` (Fieller 1954, JRSS B 16:175-185).

    The ratios r for which the t interval of the mean of `(s - chance) - r * (t - chance)` holds 0.

    Returns:
        Lower and upper ends; infinite where the teacher's mean is not distinguishable from chance or is below it.
    """
    top, bottom = found.student - chance, found.teacher - chance
    square = t_quantile(found.df, level) ** 2
    a = bottom**2 - square * found.var_teacher
    b = top * bottom - square * found.covariance
    c = top**2 - square * found.var_student
    bounded = (bottom > 0) & (a > 0)
    root = np.sqrt(np.maximum(b**2 - a * c, 0.0))
    safe = np.where(bounded, a, 1.0)
    return np.where(bounded, (b - root) / safe, -np.inf), np.where(bounded, (b + root) / safe, np.inf)


def t_quantile(df: Floats, level: float) -> Floats:
    """The two-sided critical value of Student's t at `level`."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(df, (1.0 + level) / 2.0), dtype=np.float64)


def t_test(found: Moments) -> Floats:
    """Two-sided p-value of no difference; equal weights give the paired t test. NaN where the variance is 0."""
    from scipy.special import stdtr

    variance = found.variance(1.0, -1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(variance > 0, np.abs(found.mean(1.0, -1.0)) / np.sqrt(variance), np.nan)
    return np.asarray(2.0 * stdtr(found.df, -distance), dtype=np.float64)
