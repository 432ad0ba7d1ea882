"""Score intervals against published examples, other libraries, and what defines them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, norm
from statsmodels.stats.proportion import _confint_riskratio_paired_nam, proportion_confint

from distill_eval.compare.evidence import binary_evidence, real_evidence
from distill_eval.compare.score import Support, mean_interval, ratio_interval

TABLES = st.tuples(*(st.integers(0, 40) for _ in range(4))).filter(sum)


def support(both, student_only, teacher_only, neither):
    counts = np.array([[both, student_only, teacher_only, neither]], dtype=float)
    return Support(
        student=np.array([[1.0, 1.0, 0.0, 0.0]]),
        teacher=np.array([[1.0, 0.0, 1.0, 0.0]]),
        share=counts / counts.sum(),
        num_docs=counts.sum(axis=-1),
    )


def limit(level):
    return np.array([norm.ppf((1 + level) / 2) ** 2])


def difference(table, level=0.95):
    return [float(end[0]) for end in mean_interval(support(*table), 1.0, -1.0, limit(level))]


def ratio(table, level=0.95, chance=0.0):
    return [float(end[0]) for end in ratio_interval(support(*table), np.array([chance]), limit(level))]


@pytest.mark.parametrize(
    ("table", "level", "published"),
    [
        pytest.param((4, 9, 3, 16), 0.95, (-0.027, 0.390), id="Tango 1998"),
        pytest.param((43, 0, 1, 0), 0.90, (-0.096, 0.037), id="Tango 1998, contact lenses"),
        pytest.param((53, 16, 8, 9), 0.95, (-0.020, 0.207), id="Agresti and Min 2005"),
        pytest.param((1, 1, 7, 12), 0.95, (-0.517, -0.026), id="Fagerland et al. 2014"),
        pytest.param((7, 25, 2, 68), 0.95, (0.139, 0.321), id="Chang et al. 2024"),
        pytest.param((8, 3, 1, 2), 0.95, (-0.1670, 0.4327), id="Tang et al. 2010"),
    ],
)
def test_published_intervals_of_the_paired_difference(table, level, published):
    digits = max(len(str(abs(end)).partition(".")[2]) for end in published)
    assert difference(table, level) == pytest.approx(published, abs=0.5001 * 10**-digits)


@pytest.mark.parametrize(
    ("table", "level", "published"),
    [
        pytest.param((446, 5, 16, 690), 0.90, (0.958, 0.992), id="Tang, Tang and Chan 2003"),
        pytest.param((43, 0, 1, 0), 0.90, (0.904, 1.039), id="Tang, Tang and Chan 2003, contact lenses"),
        pytest.param((1, 1, 7, 12), 0.95, (0.065, 0.907), id="Fagerland et al. 2014"),
        pytest.param((8, 3, 1, 2), 0.95, (0.776, 2.033), id="Tang et al. 2010"),
    ],
)
def test_published_intervals_of_the_paired_ratio(table, level, published):
    assert ratio(table, level) == pytest.approx(published, abs=0.0005001)


@given(TABLES.filter(lambda table: min(table[:3]) > 0))
def test_the_ratio_is_that_of_statsmodels(table):
    both, student_only, teacher_only, _ = table
    expected = _confint_riskratio_paired_nam([[both, student_only], [teacher_only, table[3]]]).confint
    assert ratio(table) == pytest.approx([float(np.real(end)) for end in expected], rel=1e-6)


@given(TABLES)
def test_one_proportion_is_wilsons(table):
    found = mean_interval(support(*table), 1.0, 0.0, limit(0.95))
    expected = proportion_confint(table[0] + table[1], sum(table), method="wilson")
    assert [float(end[0]) for end in found] == pytest.approx(expected, abs=1e-9)


@given(TABLES, st.floats(0.5, 1.0))
def test_the_ends_are_where_the_statistic_is_critical(table, share):
    """The definition, by brute force over the constrained likelihood of the four cells."""
    found = support(*table)
    value = found.student[0] - share * found.teacher[0]
    low, high = (float(end[0]) for end in mean_interval(found, 1.0, -share, limit(0.95)))
    mean = float(value @ found.share[0])
    assert value.min() - 1e-12 <= low <= mean + 1e-12
    assert mean - 1e-12 <= high <= value.max() + 1e-12
    for end in (low, high):
        if value.min() + 1e-9 < end < value.max() - 1e-9:
            statistic = sum(table) * (mean - end) ** 2 / constrained_variance(value - end, found.share[0])
            assert statistic == pytest.approx(float(limit(0.95)[0]), rel=1e-5)


def constrained_variance(deviation, share):
    """Variance of the weights that maximize sum(share * log(weight)) among those of mean zero, by bisection."""
    low, high = -1 / deviation.max(), -1 / deviation.min()
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(200):
            middle = (low + high) / 2
            weights = np.where(share > 0, share / (1 + middle * deviation), 0.0)
            low, high = (middle, high) if weights @ deviation > 0 else (low, middle)
    rest = weights @ deviation
    corner = deviation.max() if rest < 0 else deviation.min()
    return float(weights @ deviation**2 - rest * corner)


@given(TABLES.filter(lambda table: table[0] + table[2] > 0), st.floats(0.05, 1.5))
def test_the_ratio_is_above_a_share_exactly_when_the_contrast_is_above_zero(table, share):
    low, high = ratio(table)
    contrast = [float(end[0]) for end in mean_interval(support(*table), 1.0, -share, limit(0.95))]
    if abs(low - share) > 1e-9 and abs(high - share) > 1e-9:
        assert (low > share) == (contrast[0] > 0)
        assert (high < share) == (contrast[1] < 0)


@given(TABLES.filter(lambda table: table[0] + table[2] > 0))
def test_zero_is_inside_for_the_chance_at_which_the_ratio_is_one(table):
    """Above chance or not, equal scores are a retention of 1, so the difference decides whether 1 is inside."""
    chance = 0.5 * (table[0] + table[2]) / sum(table)
    low, high = ratio(table, chance=chance)
    d_low, d_high = difference(table)
    if np.isfinite(low) and min(abs(d_low), abs(d_high), abs(low - 1), abs(high - 1)) > 1e-9:
        assert (low > 1) == (d_low > 0)
        assert (high < 1) == (d_high < 0)


def test_a_teacher_at_chance_leaves_the_ratio_unbounded():
    assert ratio((20, 10, 10, 60), chance=0.25) == [-np.inf, np.inf]
    assert ratio((0, 3, 0, 2)) == [-np.inf, np.inf]


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("num_docs", [2, 5, 20, 73, 1000])
def test_agreement_on_every_document_is_not_certainty(num_docs, level):
    """All right on both sides: the share on which the student may fail is at least the exact binomial bound."""
    ones = np.ones((1, num_docs))
    found = binary_evidence(ones, ones)
    exact = float(beta.ppf((1 - level) / 2, num_docs, 1))
    assert found.linear(1.0, -1.0, level).low[0] <= exact - 1.0 + 1e-12
    assert found.linear(1.0, -0.95, level).low[0] <= exact - 0.95 + 1e-12
    assert found.ratio(0.0, level).low[0] <= exact + 1e-12
    assert found.linear(1.0, -1.0, level).high[0] > 0


def test_the_unseen_documents_do_not_widen_a_score_interval_at_95_percent():
    """They are the corner of the score interval itself, so they only matter where it has no corner of its own."""
    rng = np.random.default_rng(3)
    teacher = (rng.random((200, 40)) < 0.7).astype(float)
    student = np.where(rng.random((200, 40)) < 0.1, 1 - teacher, teacher)
    found = binary_evidence(student, teacher)
    bare = found._replace(bounds=None)
    for weights in ((1.0, -1.0), (1.0, -0.95), (0.0, 1.0)):
        assert found.linear(*weights, 0.95).low == pytest.approx(bare.linear(*weights, 0.95).low, abs=1e-12)
        assert found.linear(*weights, 0.95).high == pytest.approx(bare.linear(*weights, 0.95).high, abs=1e-12)
    assert found.ratio(0.0, 0.95).low == pytest.approx(bare.ratio(0.0, 0.95).low, abs=1e-12)
    assert found.ratio(0.0, 0.95).high == pytest.approx(bare.ratio(0.0, 0.95).high, abs=1e-12)


@pytest.mark.parametrize("make", [binary_evidence, real_evidence])
def test_one_document_alone_has_a_range_but_no_interval(make):
    found = make(np.ones((1, 1)), np.ones((1, 1)))
    assert found.bounds == (0.0, 1.0)
    assert np.isnan([found.linear(1.0, -1.0, 0.95).low[0], found.linear(1.0, -1.0, 0.95).high[0]]).all()
