"""Means and their errors against closed forms, statsmodels, and simulation with a fixed seed."""

import math

import numpy as np
import pytest
import statsmodels.api as sm

from distill_eval.fidelity.statistics import bits_per_byte, exponential, mean, root_mean_square, share, spread
from distill_eval.schema.fidelity import Estimate


def clustered(rng, num_chunks, size, between):
    """Positions with mean 1 whose chunks differ."""
    return 1 + between * rng.normal(size=(num_chunks, 1)) + rng.normal(size=(num_chunks, size))


def test_the_errors_of_a_mean():
    values = np.array([[1.0, 3.0], [5.0, 7.0], [3.0, 5.0]])
    found = mean(values)
    assert found.value == 4
    assert found.stderr == pytest.approx(2 / math.sqrt(3))  # of the chunk means 2, 6, 4
    assert found.stderr_iid == pytest.approx(math.sqrt(np.var(values, ddof=1) / 6))


def test_the_error_over_independent_positions_is_that_of_llama_cpp():
    values = np.random.default_rng(0).gamma(0.3, size=(4, 255))
    total, squares, count = values.sum(), (values**2).sum(), values.size
    theirs = math.sqrt((squares / count - (total / count) ** 2) / (count - 1))  # `mean_and_uncertainty`
    assert mean(values).stderr_iid == pytest.approx(theirs)


def test_the_clustered_error_is_that_of_statsmodels():
    values = clustered(np.random.default_rng(1), 12, 30, 0.5)
    groups = np.repeat(np.arange(12), 30)
    fit = sm.OLS(values.ravel(), np.ones(values.size)).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True}
    )
    # its correction is G / (G - 1) * (N - 1) / (N - K), and K is 1
    assert mean(values).stderr == pytest.approx(float(fit.bse[0]))


def test_one_chunk_or_one_position_has_no_error():
    assert mean(np.array([[1.0, 2.0]])).stderr is None
    assert mean(np.array([[1.0]])) == Estimate(value=1.0, stderr=None, stderr_iid=None)


def test_the_clustered_error_covers_where_the_other_does_not():
    rng = np.random.default_rng(2)
    ours = theirs = 0
    for _ in range(1000):
        found = mean(clustered(rng, 32, 50, 0.3))
        ours += abs(found.value - 1) < 2.04 * found.stderr  # t with 31 degrees of freedom
        theirs += abs(found.value - 1) < 1.96 * found.stderr_iid
    assert 0.93 < ours / 1000 < 0.97
    assert theirs / 1000 < 0.75


def test_a_share_has_an_interval_that_covers_though_positions_depend_on_each_other():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(1000):
        chance = rng.beta(18, 2, size=(20, 1))  # mean 0.9
        found = share((rng.random((20, 40)) < chance).astype(float))
        assert 0 <= found.ci_low <= found.value <= found.ci_high <= 1
        covered += found.ci_low <= 0.9 <= found.ci_high
    assert 0.93 < covered / 1000 < 0.985


def test_full_agreement_still_has_an_interval():
    found = share(np.ones((4, 25)))
    assert (found.value, found.ci_high) == (1.0, 1.0)
    assert found.ci_low == pytest.approx(1 / (1 + 3.182446**2 / 100), abs=1e-6)  # Wilson at p = 1; t of 3 degrees


def test_chunks_that_agree_by_chance_are_still_few():
    found = share(np.tile([1.0, 1.0, 1.0, 0.0], (2, 25)))  # t of one degree is 12.7: 200 positions count as 4.8
    assert found.stderr == 0
    center, n = 0.75, 200 * (1.959964 / 12.706205) ** 2
    low = (center + 1.959964**2 / (2 * n) - 1.959964 * np.sqrt(center * 0.25 / n + 1.959964**2 / (4 * n * n))) / (
        1 + 1.959964**2 / n
    )
    assert found.ci_low == pytest.approx(low, abs=1e-6)
    assert found.ci_high - found.ci_low > 0.5


def test_percentiles():
    found = spread(np.arange(101.0)[None])
    assert (found.median, found.p90, found.p99, found.maximum) == (50, 90, 99, 100)


def test_root_mean_square_and_its_error():
    values = np.array([[3.0, -4.0], [0.0, 5.0], [1.0, 2.0]])
    found, square = root_mean_square(values), mean(values**2)
    assert found.value == pytest.approx(math.sqrt(55 / 6))
    assert found.stderr_iid == pytest.approx(0.5 / found.value * square.stderr_iid)  # as in llama.cpp
    assert root_mean_square(np.zeros((3, 2))) == Estimate(value=0.0, stderr=0.0, stderr_iid=0.0)


def test_a_perplexity_ratio_has_the_error_of_llama_cpp():
    rng = np.random.default_rng(4)
    base = rng.gamma(1.0, 3.0, size=(4, 255))
    other = base + rng.normal(0.05, 0.4, size=base.shape)
    count = base.size
    cov = np.cov(other.ravel(), base.ravel(), bias=True) / (count - 1)
    theirs = math.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1])
    found = mean(other - base)
    assert found.stderr_iid == pytest.approx(theirs)
    ratio = exponential(found)
    assert ratio.value == pytest.approx(math.exp(other.mean()) / math.exp(base.mean()))
    assert ratio.stderr_iid == pytest.approx(ratio.value * theirs)


def test_bits_per_byte():
    nats = math.log(2) * np.array([[8.0, 8.0], [2.0, 2.0]])
    found = bits_per_byte(nats, np.array([8.0, 4.0]))
    assert found.value == pytest.approx(20 / 12)
    off = (16 - 8 * 20 / 12) ** 2 + (4 - 4 * 20 / 12) ** 2
    assert found.stderr == pytest.approx(math.sqrt(2 * off) / 12)
    assert found.stderr_iid is None
