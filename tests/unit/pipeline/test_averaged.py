"""The mean over tasks, and how often its interval holds the truth."""

from dataclasses import replace

import numpy as np
import pytest

from distill_eval.compare.evidence import binary_evidence
from distill_eval.pipeline.averaged import average
from distill_eval.schema.retention import Estimate


def around(value, stderr, low, high):
    return Estimate(value=value, stderr=stderr, ci_low=value - low, ci_high=value + high)


def test_the_variances_of_symmetric_estimates_add():
    found = average([around(0.9, 0.03, 0.06, 0.06), around(1.0, 0.04, 0.08, 0.08)], "")
    assert (found.value, found.stderr) == pytest.approx((0.95, 0.025))
    assert (found.ci_low, found.ci_high) == pytest.approx((0.90, 1.00))
    assert found.reason is None


def test_an_interval_that_is_not_symmetric_stays_so():
    found = average([around(0.9, 0.03, 0.03, 0.06), around(1.0, 0.04, 0.04, 0.12)], "")
    assert found.ci_low == pytest.approx(0.95 - 0.025)
    assert found.ci_high == pytest.approx(0.95 + (0.06**2 + 0.12**2) ** 0.5 / 2)


def test_one_estimate_is_its_own_mean():
    only = around(0.9, 0.03, 0.03, 0.06)
    assert average([only], "") == only


def test_a_mean_over_a_part_of_the_tasks_says_so():
    one, other = around(0.9, 0.03, 0.06, 0.06), around(1.0, 0.04, 0.08, 0.08)
    undefined = Estimate(value=None, reason="no chance")
    assert average([one, undefined], "") == replace(one, reason="over 1 of 2 tasks")
    assert average([one, other], "", 2).reason is None
    assert average([one, other, undefined], "", 5).reason == "over 2 of 5 tasks"
    assert average([one, other], "", 5).value == average([one, other], "").value
    bare = replace(other, ci_high=None, reason="not bounded above")
    assert average([one, bare], "", 3).reason == "over 2 of 3 tasks; not bounded above"


def test_without_a_value_the_reasons_are_told():
    nothing = [Estimate(value=None, reason=why) for why in ("a", "b", "a")]
    assert average(nothing, "c") == Estimate(value=None, reason="a; b")
    assert average([], "c") == Estimate(value=None, reason="c")


def test_an_end_that_one_task_lacks_the_mean_lacks_too():
    open_end = Estimate(value=1.1, stderr=0.1, ci_low=0.9, ci_high=None, reason="not bounded above")
    found = average([around(0.9, 0.03, 0.06, 0.06), open_end], "")
    assert found.ci_low == pytest.approx(1.0 - (0.06**2 + 0.2**2) ** 0.5 / 2)
    assert (found.ci_high, found.reason) == (None, "not bounded above")


@pytest.mark.parametrize("num_docs", [60, 300])
def test_the_interval_holds_the_true_mean_as_often_as_it_says(num_docs):
    """Four tasks on which the student gets a part of what the teacher has, and something else right."""
    rng, rounds = np.random.default_rng(1), 1000
    chances = [(0.8, 0.95, 0.1), (0.6, 0.85, 0.15), (0.45, 0.9, 0.05), (0.7, 0.7, 0.3)]
    truths, estimates = [], []
    for right, kept, gained in chances:
        teacher = (rng.random((rounds, num_docs)) < right).astype(float)
        student = (rng.random((rounds, num_docs)) < np.where(teacher, kept, gained)).astype(float)
        truths.append((right * kept + (1 - right) * gained) / right)
        estimates.append(binary_evidence(student, teacher).ratio(0.0, 0.95))
    truth, held = float(np.mean(truths)), 0
    for place in range(rounds):
        parts = [
            Estimate(value=e.value[place], stderr=e.stderr[place], ci_low=e.low[place], ci_high=e.high[place])
            for e in estimates
        ]
        found = average(parts, "")
        held += found.ci_low <= truth <= found.ci_high
    assert 0.93 <= held / rounds <= 0.975
