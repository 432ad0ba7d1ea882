"""What a comparison can see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from distill_eval.compare import planned_power
from distill_eval.compare.power import docs_to_settle, seen_power
from distill_eval.errors import UsageError


def drop(num_docs, **options):
    return planned_power(num_docs, kind="binary", level=0.95, **options).planned_detectable_drop


def test_connors_published_example():
    """Discordant shares 0.45 and 0.05, so a drop of 0.4: 23 pairs give 80 % power, 22 do not (Connor 1987)."""
    assert drop(23, discordance=0.5) < 0.4 < drop(22, discordance=0.5)


@given(st.integers(30, 100_000), st.floats(0.02, 0.5), st.floats(0.5, 0.95))
def test_the_drop_solves_connors_equation(num_docs, discordance, power):
    found = drop(num_docs, discordance=discordance, power=power)
    if found is not None:
        right = norm.ppf(0.975) * discordance**0.5 + norm.ppf(power) * (discordance - found**2) ** 0.5
        assert found * num_docs**0.5 == pytest.approx(right, rel=1e-6)


def test_a_drop_of_that_size_is_found_four_times_in_five():
    """The exact McNemar test is a little more cautious than the normal approximation of the plan."""
    num_docs, discordance = 1000, 0.2
    worse = (discordance + drop(num_docs)) / 2
    draws = np.random.default_rng(0).multinomial(num_docs, [worse, discordance - worse, 1 - discordance], size=4000)
    pairs, counts = np.unique(draws[:, :2], axis=0, return_counts=True)
    found = [binomtest(int(a), int(a + b)).pvalue < 0.05 for a, b in pairs]
    assert np.average(found, weights=counts) == pytest.approx(0.8, abs=0.03)


def test_more_documents_see_less():
    drops = [drop(n) for n in (50, 200, 1000, 14_042)]
    assert drops == sorted(drops, reverse=True)
    assert drops[-1] == pytest.approx(0.0106, abs=1e-4)


def test_too_few_documents_see_nothing_and_say_so():
    found = planned_power(5, kind="binary", level=0.95)
    assert found.planned_detectable_drop is None
    assert found.reason == "5 documents are too few to show a drop, even if all 20% that change were lost"
    assert planned_power(1, kind="binary", level=0.95).planned_detectable_drop is None


@pytest.mark.parametrize("kind", ["real", "loglikelihood", "corpus"])
def test_other_metrics_cannot_be_planned_and_say_so(kind):
    found = planned_power(100, kind=kind, level=0.95)
    assert (found.planned_detectable_drop, found.planned_discordance) == (None, None)
    assert found.reason == f"the spread of a {kind} metric is not known before the run"
    assert found.power == 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_docs": 0}, "num_docs is 0: expected at least 1 document"),
        ({"level": 1.0}, "level is 1.0: expected a number between 0 and 1"),
        ({"power": 0.0}, "power is 0.0: expected a number between 0 and 1"),
        ({"discordance": 1.5}, "discordance is 1.5: expected a number between 0 and 1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(UsageError) as error:
        planned_power(**{"num_docs": 10, "kind": "binary", "level": 0.95, **arguments})
    assert str(error.value) == message


def test_the_drop_seen_is_z_level_plus_z_power_standard_errors():
    assert seen_power(0.01 * norm.ppf(0.975), level=0.95, power=0.8) == pytest.approx(0.01 * (1.959964 + 0.841621))


def test_documents_to_settle():
    """A half-width of 2.95 times the estimate has to shrink to below it: 2.95 squared times the documents."""
    assert docs_to_settle(100, value=0.01, end=-0.0195, within_share=1.0) == 871
    assert docs_to_settle(100, value=-0.01, end=0.0195, within_share=1.0) == 871


def test_documents_do_not_settle_what_tasks_differ_in():
    assert docs_to_settle(100, value=0.01, end=-0.02, within_share=0.5) is None
    assert docs_to_settle(100, value=0.02, end=-0.001, within_share=0.5) == 123
    assert docs_to_settle(100, value=0.0, end=-0.02, within_share=1.0) is None
