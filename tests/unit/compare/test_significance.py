"""The tests of no difference, and Holm's adjustment."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from distill_eval.compare.significance import holm, sign_test


def test_mcnemar_published_example():
    """Two media for tubercle bacilli (Armitage and Berry 1994, p. 127): 12 against 2 discordant, exact p 0.0129."""
    assert sign_test(12, 2) == pytest.approx(0.0129, abs=5e-5)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_that_of_statsmodels(better, worse):
    expected = mcnemar([[5, better], [worse, 7]], exact=True).pvalue if better + worse else 1.0
    assert sign_test(better, worse) == pytest.approx(min(expected, 1.0), rel=1e-9)


def test_no_change_is_no_evidence():
    assert sign_test(0, 0) == 1.0


def test_holm_published_examples():
    """Of the documentation of pingouin's `holm`, and four p-values whose first two are significant at 0.05."""
    assert holm([0.50, 0.003, 0.32, 0.054, 0.0003]) == pytest.approx([0.64, 0.012, 0.64, 0.162, 0.0015])
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_out_what_has_no_test():
    assert holm([None, 0.02, None, 0.04]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]
    assert holm([None]) == [None]
    assert holm([]) == []


@settings(max_examples=8)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_between_the_raw_value_and_bonferronis(p_values):
    for raw, adjusted in zip(p_values, holm(p_values), strict=True):
        assert raw - 1e-12 <= adjusted <= min(1.0, len(p_values) * raw) + 1e-12
