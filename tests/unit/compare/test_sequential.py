"""Confidence sequences by betting: against the formulas as plain loops, and in simulation with many looks."""

import math

import numpy as np
import pytest

from distill_eval.compare.evidence import binary_evidence
from distill_eval.compare.sequential import (
    FINAL_SHARE,
    AfterLooks,
    Taken,
    bets,
    capitals,
    final_level,
    log_capital,
    refuting,
)

STUDENT, TEACHER = np.array([1.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0])
LOOKS = (64, 80, 100, 125, 156, 195, 243, 303, 378, 472, 590, 737, 921, 1151, 1438, 1797, 2246, 2807, 3508, 4385, 5153)


def taken(counts, total=2000, weight=None):
    """0/1 scores: both right, student only, teacher only, neither, at every look."""
    weight = np.ones(4) if weight is None else weight
    return Taken(STUDENT, TEACHER, weight, np.atleast_3d(np.array(counts, dtype=float)), (0.0, 1.0), total)


def after(*counts, exhausted=False, total=2000):
    """Evidence after looks with these counts."""
    last = [int(number) for number in counts[-1]]
    scores = [np.repeat(side, last)[None] for side in (STUDENT, TEACHER)]
    return AfterLooks(taken([counts], total), binary_evidence(*scores), exhausted)


def plain_capital(values, mean, least, sizes):
    """The average over bets of the product over documents, as the paper writes it."""
    total = 0.0
    for size in sizes:
        capital = 1.0
        for value in values:
            capital *= 1.0 + size * (value - mean) / (mean - least)
        total += capital / len(sizes)
    return total


def test_the_capital_is_the_average_of_products_over_documents():
    values, counts = np.array([1.0, 0.05, -0.95, 0.0]), np.array([3.0, 40.0, 5.0, 30.0])
    documents = np.repeat(values, counts.astype(int))
    sizes = bets(2000, 0.95)
    expected = plain_capital(documents, 0.0, -0.95, sizes)
    assert log_capital(counts, values, np.array(-0.95), sizes) == pytest.approx(math.log(expected), rel=1e-9)
    both = capitals(taken([[[40, 3, 5, 30]]]), 1.0, -0.95, 0.95)
    documents = np.repeat([0.05, 1.0, -0.95, 0.0], [40, 3, 5, 30])
    assert both[0][0, 0] == pytest.approx(math.log(plain_capital(documents, 0.0, -0.95, sizes)), rel=1e-9)
    assert both[1][0, 0] == pytest.approx(math.log(plain_capital(-documents, 0.0, -1.0, sizes)), rel=1e-9)


def test_the_interval_ends_where_the_plain_loop_has_won_enough():
    found = after([300, 40, 60, 100]).linear(1.0, -1.0, 0.95)
    documents, sizes = np.repeat([0.0, 1.0, -1.0, 0.0], [300, 40, 60, 100]), bets(2000, 0.95)
    won = plain_capital(documents, found.low[0], -1.0, sizes)
    lost = plain_capital(-documents, -found.high[0], -1.0, sizes)
    enough = 2 / (0.05 * (1 - FINAL_SHARE))
    assert (won, lost) == (pytest.approx(enough, rel=1e-6), pytest.approx(enough, rel=1e-6))
    assert found.value[0] == pytest.approx(-0.04)


def test_the_bets_reach_from_the_smallest_useful_one_to_nearly_everything():
    assert bets(2000, 0.95)[[0, -1]] == pytest.approx([math.sqrt(2 * math.log(40) / 400), 0.98])
    assert bets(10, 0.95)[0] == pytest.approx(0.5)


@pytest.mark.parametrize("counts", [[300, 40, 60, 100], [3000, 400, 420, 1000], [50, 2, 30, 20], [64, 0, 0, 0]])
def test_a_verdict_by_capital_is_the_one_by_interval(counts):
    evidence = after(counts)
    found = evidence.linear(1.0, -0.95, 0.95)
    more, less = (side[0, 0] > refuting(0.95) for side in capitals(evidence.taken, 1.0, -0.95, 0.95))
    assert (found.low[0] > 0, found.high[0] < 0) == (more, less)


def test_the_ends_of_the_retention_are_the_shares_at_which_the_contrast_just_stands():
    evidence = after([300, 40, 60, 100])
    ratio = evidence.ratio(0.0, 0.95)
    assert ratio.value[0] == pytest.approx(340 / 360)
    assert evidence.linear(1.0, -ratio.low[0], 0.95).low[0] == pytest.approx(0.0, abs=1e-8)
    assert evidence.linear(1.0, -ratio.high[0], 0.95).high[0] == pytest.approx(0.0, abs=1e-8)


def test_above_chance_the_ratio_has_wider_ends():
    evidence = after([300, 40, 60, 100])
    plain, above = evidence.ratio(0.0, 0.95), evidence.ratio(0.25, 0.95)
    assert above.value[0] == pytest.approx((340 - 125) / (360 - 125))
    assert above.low[0] < plain.low[0] < above.value[0] < plain.high[0] < above.high[0]


def test_without_a_right_answer_of_the_teacher_the_ratio_has_no_bounds():
    found = after([0, 3, 0, 97]).ratio(0.0, 0.95)
    assert math.isnan(found.value[0])
    assert (found.low[0], found.high[0]) == (-math.inf, math.inf)


def test_with_roles_exchanged_the_interval_is_mirrored():
    evidence = after([300, 40, 60, 100])
    found, mirrored = evidence.linear(1.0, -1.0, 0.95), evidence.inverse().linear(-1.0, 1.0, 0.95)
    assert mirrored.low == pytest.approx(found.low)
    assert mirrored.high == pytest.approx(found.high)


def test_what_an_early_look_showed_stays():
    first, second = [60, 0, 40, 0], [460, 40, 60, 140]
    one, both = after(first).linear(1.0, -1.0, 0.95), after(first, second).linear(1.0, -1.0, 0.95)
    alone = after(second).linear(1.0, -1.0, 0.95)
    assert one.high[0] < alone.low[0]  # the second look contradicts the first, so it is left out
    assert (both.low[0], both.high[0]) == (one.low[0], one.high[0])
    assert after(first, second).until(1).linear(1.0, -1.0, 0.95).high == pytest.approx(one.high)


def test_the_last_document_buys_an_interval_of_the_usual_kind():
    counts = [1200, 150, 200, 450]
    before, last = after(counts), after(counts, exhausted=True)
    usual = last.usual.linear(1.0, -1.0, final_level(0.95))
    found = last.linear(1.0, -1.0, 0.95)
    assert final_level(0.95) == pytest.approx(1 - 0.05 * FINAL_SHARE)
    assert (found.low[0], found.high[0]) == (pytest.approx(usual.low[0]), pytest.approx(usual.high[0]))
    assert found.low[0] > before.linear(1.0, -1.0, 0.95).low[0]
    assert last.until(1).exhausted


def test_documents_of_small_tasks_count_more_in_a_mean_over_tasks():
    weight = np.array([1.0, 0.5, 2.0, 1.0])
    value, least, most = taken([[[1, 1, 1, 1]]], weight=weight).contrast(1.0, -0.95)
    assert value == pytest.approx([0.05, 0.5, -1.9, 0.0])
    assert (least, most) == (pytest.approx(-1.9), pytest.approx(2.0))


def drawn(draws, retention, seed=0, teacher=0.5, correlation=0.6):
    """Counts at every look of comparisons with a student of this true retention, shape (draws, looks, 4)."""
    student = teacher * retention
    both = student * teacher + correlation * math.sqrt(student * (1 - student) * teacher * (1 - teacher))
    cells = [both, student - both, teacher - both, 1 - student - teacher + both]
    rng = np.random.default_rng(seed)
    return np.stack([rng.multinomial(size, cells, draws) for size in np.diff((0, *LOOKS))], axis=1).cumsum(axis=1)


def ended(counts):
    """Verdict (1, -1, 0) and documents used of each comparison, as `--adaptive` ends it."""
    evidence = taken(counts, total=LOOKS[-1])
    more, less = (side > refuting(0.95) for side in capitals(evidence, 1.0, -0.95, 0.95))
    decided = more | less
    at = np.where(decided.any(axis=1), decided.argmax(axis=1), len(LOOKS) - 1)
    rows = np.arange(len(at))
    mean, stderr = moments(counts[:, -1])
    last = np.sign(mean) * (abs(mean) > 2.378 * stderr)  # the normal quantile of 1 - 0.025 * FINAL_SHARE
    verdict = np.where(decided.any(axis=1), more[rows, at].astype(int) - less[rows, at], last)
    return verdict, np.array(LOOKS)[at]


def moments(counts):
    """Mean of the contrast and its standard error."""
    value, num_docs = STUDENT - 0.95 * TEACHER, counts.sum(axis=-1)
    mean = counts @ value / num_docs
    return mean, np.sqrt((counts @ value**2 / num_docs - mean**2) / num_docs)


def test_a_student_on_the_margin_passes_and_fails_at_most_1_time_in_40_with_a_look_at_every_block():
    counts = drawn(4000, 0.95)
    verdict, _ = ended(counts)
    assert 0.005 < np.mean(verdict == 1) < 0.025 + 3 * 0.0025
    assert 0.005 < np.mean(verdict == -1) < 0.025 + 3 * 0.0025
    mean, stderr = moments(counts)
    careless = (mean > 1.96 * stderr).any(axis=1)  # who stops at the first usual interval above 0
    assert careless.mean() > 0.1


@pytest.mark.parametrize(("retention", "verdict", "decided", "share"), [(0.9, -1, 0.9, 0.75), (1.0, 1, 0.9, 0.75)])
def test_a_clear_student_is_settled_before_the_last_document(retention, verdict, decided, share):
    found, used = ended(drawn(1000, retention))
    assert np.mean(found == verdict) > decided
    assert np.mean(found == -verdict) == 0
    assert np.median(used) / LOOKS[-1] < share


def test_equal_models_are_told_apart_at_most_1_time_in_20():
    counts = drawn(300, 1.0, seed=1)
    found = []
    for one in counts:
        evidence = AfterLooks(taken(one[None], total=LOOKS[-1]), after(one[-1]).usual, False)
        found.append(evidence.p_value(0.95))
    assert np.mean(np.array(found) <= 0.05) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
    assert min(found) > 0
    assert after([300, 0, 100, 100]).p_value(0.95) < 1e-6
