"""Weighted means over units, against scipy and the definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from distill_eval.compare.evidence import binary_evidence, bits_evidence, equal_units, group_evidence, real_evidence
from distill_eval.compare.units import Units, fieller_interval, moments, t_interval, t_test

RNG = np.random.default_rng(11)
STUDENT, TEACHER = RNG.beta(3, 2, (2, 1, 40))


def weighted(num_units, seed=0):
    rng = np.random.default_rng(seed)
    weight = rng.lognormal(0, 1, (1, num_units))
    scores = rng.normal(1, 0.3, (2, 1, num_units))
    return Units(scores[0], scores[1], weight / weight.sum())


def test_equal_weights_are_the_paired_t_test():
    found = moments(equal_units(STUDENT, TEACHER))
    expected = stats.ttest_rel(STUDENT[0], TEACHER[0])
    interval = expected.confidence_interval(0.9)
    assert t_test(found)[0] == pytest.approx(expected.pvalue, rel=1e-10)
    assert found.df[0] == pytest.approx(39)
    assert [end[0] for end in t_interval(found, 1.0, -1.0, 0.9)] == pytest.approx([interval.low, interval.high])


def test_fiellers_ends_are_the_ratios_whose_t_test_is_just_not_rejected():
    found = moments(equal_units(STUDENT, TEACHER))
    for end in fieller_interval(found, np.zeros(1), 0.95):
        assert stats.ttest_1samp(STUDENT[0] - end * TEACHER[0], 0.0).pvalue == pytest.approx(0.05, rel=1e-9)
    for end in fieller_interval(found, np.full(1, 0.25), 0.95):
        shifted = (STUDENT[0] - 0.25) - end * (TEACHER[0] - 0.25)
        assert stats.ttest_1samp(shifted, 0.0).pvalue == pytest.approx(0.05, rel=1e-9)


def test_fieller_in_its_textbook_form_and_beside_a_published_interval():
    """The example of Bonett and Price (2020), whose interval of the logarithm of the ratio is 1.09417 to 1.175583."""
    student = np.array([[3.3, 3.6, 3.0, 3.1, 3.9, 4.2, 3.5, 3.3]])
    teacher = np.array([[3.0, 3.1, 2.7, 2.6, 3.2, 3.8, 3.2, 3.0]])
    low, high = (end[0] for end in fieller_interval(moments(equal_units(student, teacher)), np.zeros(1), 0.95))
    covariance = np.cov(student[0], teacher[0]) / 8
    top, bottom = student.mean(), teacher.mean()
    square = stats.t.ppf(0.975, 7) ** 2
    ratio, g = top / bottom, square * covariance[1, 1] / bottom**2
    inside = covariance[0, 0] - 2 * ratio * covariance[0, 1] + ratio**2 * covariance[1, 1]
    inside -= g * (covariance[0, 0] - covariance[0, 1] ** 2 / covariance[1, 1])
    middle = ratio - g * covariance[0, 1] / covariance[1, 1]
    half = np.sqrt(square * inside) / bottom
    assert ratio == pytest.approx(1.134146, abs=5e-7)
    assert [low, high] == pytest.approx([(middle - half) / (1 - g), (middle + half) / (1 - g)], rel=1e-10)
    assert [low, high] == pytest.approx([1.09417, 1.175583], abs=1e-3)


def test_fieller_has_no_bounds_where_the_teacher_may_be_zero():
    noise = np.array([[-1.0, 1.0, -2.0, 2.5]])
    found = moments(equal_units(noise + 1, noise))
    assert [end[0] for end in fieller_interval(found, np.zeros(1), 0.95)] == [-np.inf, np.inf]


@given(st.integers(2, 12), st.integers(0, 1000))
def test_the_variance_is_that_of_leaving_out_each_unit_in_turn(num_units, seed):
    units = weighted(num_units, seed)
    score = units.student[0] - 0.9 * units.teacher[0]
    left_out = []
    for index in range(num_units):
        keep = np.arange(num_units) != index
        left_out.append(np.average(score[keep], weights=units.weight[0, keep]))
    full = np.average(score, weights=units.weight[0])
    expected = (num_units - 1) / num_units * np.sum((np.array(left_out) - full) ** 2)
    assert moments(units).variance(1.0, -0.9)[0] == pytest.approx(expected, rel=1e-9)


def test_degrees_of_freedom_match_the_moments_of_the_variance_estimate():
    """Simulated: units with variance inverse to their weight; twice the squared mean over the variance is the df."""
    weight = np.array([0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05])
    rng = np.random.default_rng(5)
    shape = (200_000, weight.size)
    units = Units(rng.standard_normal(shape) / np.sqrt(weight), np.zeros(shape), np.broadcast_to(weight, shape))
    found = moments(units)
    simulated = 2 * found.var_student.mean() ** 2 / found.var_student.var()
    assert found.df[0] == pytest.approx(simulated, rel=0.02)
    assert 1 < found.df[0] < weight.size - 1


def test_bits_per_byte_is_the_ratio_of_the_sums():
    num_bytes = np.array([[100.0, 3000.0, 50.0]])
    teacher, student = np.array([[-60.0, -1500.0, -40.0]]), np.array([[-70.0, -1600.0, -41.0]])
    found = moments(bits_evidence(student, teacher, num_bytes).units)
    assert found.teacher[0] == pytest.approx(1600 / np.log(2) / 3150)
    assert found.student[0] == pytest.approx(1711 / np.log(2) / 3150)


def test_a_group_weighs_its_tasks_by_documents_or_equally():
    rng = np.random.default_rng(2)
    tasks = [real_evidence(*rng.random((2, 1, size))) for size in (100, 300)]
    by_size = group_evidence(tasks, np.array([0.25, 0.75]))
    pooled = np.concatenate([task.units.student[0] for task in tasks])
    assert moments(by_size.units).student[0] == pytest.approx(pooled.mean())
    assert by_size.num_docs[0] == pytest.approx(400)
    equal = group_evidence(tasks, np.array([0.5, 0.5]))
    means = [task.units.student.mean() for task in tasks]
    assert moments(equal.units).student[0] == pytest.approx(np.mean(means))
    assert moments(equal.units).var_student[0] == pytest.approx(np.var(means, ddof=1) / 2)
    assert equal.num_docs[0] == pytest.approx(4 / (1 / 100 + 1 / 300))


def test_a_groups_inner_variance_is_that_of_fixed_tasks():
    rng = np.random.default_rng(4)
    tasks = [real_evidence(*rng.random((2, 1, size))) for size in (60, 80, 90)]
    found = group_evidence(tasks, np.array([0.2, 0.3, 0.5]))
    parts = [np.var(task.units.student[0] - task.units.teacher[0], ddof=1) for task in tasks]
    expected = 0.04 * parts[0] / 60 + 0.09 * parts[1] / 80 + 0.25 * parts[2] / 90
    assert found.within.variance(1.0, -1.0)[0] == pytest.approx(expected)
    total = moments(found.units).variance(1.0, -1.0)[0]
    assert found.within_share(1.0, -1.0) == pytest.approx(min(1.0, expected / total))


def test_tasks_that_all_agree_do_not_give_an_interval_of_no_width():
    tasks = [binary_evidence(np.ones((1, 10)), np.ones((1, 10))) for _ in range(3)]
    found = group_evidence(tasks, np.full(3, 1 / 3)).linear(1.0, -1.0, 0.95)
    more = stats.t.ppf(0.975, 29) ** 2
    assert found.low[0] == pytest.approx(-more / (30 + more))
    assert found.high[0] == pytest.approx(more / (30 + more))


def test_an_interval_stays_in_the_range_of_the_scores():
    tasks = [binary_evidence(np.ones((1, 20)), (np.arange(20)[None, :] >= gap).astype(float)) for gap in (0, 1, 9)]
    found = group_evidence(tasks, np.full(3, 1 / 3))
    t_high = t_interval(moments(found.units), 0.0, 1.0, 0.95)[1][0]
    assert t_high > 1.0
    assert found.linear(0.0, 1.0, 0.95).high[0] == 1.0
    assert found.linear(1.0, 0.0, 0.95).high[0] == 1.0


def test_one_unit_has_no_interval():
    found = bits_evidence(np.array([[-70.0]]), np.array([[-60.0]]), np.array([[100.0]])).linear(1.0, -1.0, 0.95)
    assert found.value[0] == pytest.approx(10 / np.log(2) / 100)
    assert np.isnan([found.stderr[0], found.low[0], found.high[0]]).all()
