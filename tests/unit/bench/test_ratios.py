"""Speedups from repeats."""

import numpy as np
import pytest

from distill_eval.bench.ratios import ratio


def test_ratio_is_the_geometric_mean():
    found = ratio([2.0, 8.0])
    assert found.value == pytest.approx(4.0)
    assert (found.ci_low, found.ci_high) == (None, None)  # two repeats have no interval
    assert found.pairs == (2.0, 8.0)


def test_turned_around_the_ratio_is_the_inverse():
    pairs = [1.8, 2.1, 1.9, 2.0, 2.2]
    one, other = ratio(pairs), ratio([1 / pair for pair in pairs])
    assert other.value == pytest.approx(1 / one.value)
    assert other.ci_low == pytest.approx(1 / one.ci_high, rel=0.01)


def test_a_constant_ratio_has_no_width():
    found = ratio([1.5] * 4)
    assert found.ci_low == pytest.approx(1.5)
    assert found.ci_high == pytest.approx(1.5)


@pytest.mark.parametrize("num_repeats", [3, 4, 5, 10])
def test_the_interval_covers(num_repeats):
    """With a noise of 10 % it holds the truth about 95 times of 100, with few repeats too."""
    rng = np.random.default_rng(1)
    trials = [ratio(list(1.3 * np.exp(rng.normal(0, 0.1, num_repeats)))) for _ in range(1000)]
    covered = np.mean([found.ci_low <= 1.3 <= found.ci_high for found in trials])
    assert 0.93 <= covered <= 0.97


def test_a_worked_example():
    """Logarithms 0, 1, 2: mean 1, standard error 1/sqrt(3), t = 4.3027."""
    found = ratio([1.0, np.e, np.e**2])
    assert np.log(found.ci_low) == pytest.approx(1 - 4.302653 / 3**0.5)
    assert np.log(found.ci_high) == pytest.approx(1 + 4.302653 / 3**0.5)


def test_slower():
    assert ratio([0.8, 0.81, 0.79, 0.8]).is_slower
    assert not ratio([0.7, 1.4, 1.0]).is_slower
    assert ratio([0.9]).is_slower  # no interval: the value decides


@pytest.mark.parametrize("pairs", [[], [1.0, 0.0], [-1.0]])
def test_bad_pairs(pairs):
    with pytest.raises(ValueError, match="expected positive"):
        ratio(pairs)
