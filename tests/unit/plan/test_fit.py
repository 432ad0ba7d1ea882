"""Least squares over few points, against statsmodels and against fits that were really made without a point."""

import numpy as np
import pytest
import statsmodels.api as sm

from distill_eval.errors import UsageError
from distill_eval.plan.fit import LEVEL, ordinary, predicted

X = np.column_stack([np.ones(12), np.linspace(0, 3, 12), np.tile([0.0, 1.0, 1.0], 4)])
Y = X @ [0.5, -1.0, 2.0] + np.random.default_rng(3).normal(0, 0.3, 12)
NEW = [1.0, 1.7, 1.0]


def test_it_is_the_least_squares_fit():
    mine, theirs = ordinary(X, Y), sm.OLS(Y, X).fit()
    assert mine.coefficients == pytest.approx(theirs.params)
    assert mine.variance == pytest.approx(theirs.scale)
    assert [mine.stderr(i) for i in range(3)] == pytest.approx(theirs.bse)


def test_two_points_and_a_slope_by_hand():
    """y = b x through (1, 2) and (2, 5): b = 12 / 5, residuals -2/5 and 1/5, variance 1/5, t(1, 80 %) = 3.0777."""
    fit = ordinary([[1.0], [2.0]], [2.0, 5.0])
    assert (fit.coefficients[0], fit.variance, fit.quantile) == pytest.approx((2.4, 0.2, 3.077684))
    assert predicted([3.0], fit) == pytest.approx((7.2, 3.077684 * (0.2 * (1 + 9 / 5)) ** 0.5))


def test_the_interval_is_that_of_one_observation_more():
    value, half = predicted(NEW, ordinary(X, Y))
    theirs = sm.OLS(Y, X).fit().get_prediction([NEW])
    low, high = theirs.conf_int(obs=True, alpha=1 - LEVEL)[0]
    assert (value, value - half, value + half) == pytest.approx((theirs.predicted_mean[0], low, high))


def test_what_it_says_without_a_point_is_what_a_fit_without_it_says():
    fit = ordinary(X, Y)
    for out in range(len(Y)):
        rest = np.arange(len(Y)) != out
        without = sm.OLS(Y[rest], X[rest]).fit().get_prediction(X[out : out + 1])
        assert fit.left_out[out] == pytest.approx(without.predicted_mean[0])
        ends = without.conf_int(obs=True, alpha=1 - fit.held_at[out])[0]
        assert min(abs(ends - Y[out])) == pytest.approx(0, abs=1e-9)


def test_a_fit_without_a_spread_when_a_point_is_missing_holds_none():
    assert ordinary([[1.0], [2.0]], [2.0, 5.0]).held_at == ()


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        value, half = predicted(NEW, ordinary(X, X @ [0.5, -1.0, 2.0] + rng.normal(0, 1, 12)))
        covered += abs(np.dot(NEW, [0.5, -1.0, 2.0]) + rng.normal(0, 1) - value) <= half
    assert covered / 2000 == pytest.approx(LEVEL, abs=0.03)


@pytest.mark.parametrize(
    ("rows", "values", "said"),
    [([[1.0]], [2.0], "1 points do not fit 1 coefficients"), ([[1.0, 2.0]] * 4, [1.0] * 4, "two terms of the fit")],
)
def test_too_few_points_or_twice_the_same_term_are_refused(rows, values, said):
    with pytest.raises(UsageError, match=said):
        ordinary(rows, values)
