"""Simulated comparisons whose truth is known: the settings of benchmarks/coverage.py, fewer and with a fixed seed.

With 4,000 comparisons the rate of an exact 95 % interval is between 94.3 and 95.7 % nineteen times in twenty.
"""

import importlib.util
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "benchmarks" / "coverage.py"
spec = importlib.util.spec_from_file_location("coverage_simulation", SOURCE)
simulation = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = simulation
spec.loader.exec_module(simulation)

EXACT = [
    simulation.binary(200, 0.6, 0.2, -0.05),
    simulation.binary(200, 0.9, 0.1, -0.05),
    simulation.binary(500, 0.3, 0.1, 0.0, None),
    simulation.binary(500, 0.9, 0.05, -0.03),
    simulation.binary(1000, 0.5, 0.3, -0.02),
    simulation.group("57 tasks of 20", [20] * 57, 0.02),
    simulation.group("57 tasks of 10 to 38", [10 + index // 2 for index in range(57)], 0.05, by_size=False),
    simulation.group("14 tasks of 50", [50] * 14, 0.02),
    simulation.bits(62, "lognormal", 1.0),
    simulation.bits(62, "lognormal", 1.5),
    simulation.bits(200, "Pareto", 1.3),
    simulation.continuous(100),
    simulation.mostly_equal(600),
]


@pytest.mark.parametrize("setting", EXACT, ids=lambda setting: setting.name)
def test_intervals_hold_the_truth_and_gates_hold_the_margin(setting):
    rates = simulation.simulate(setting, 4000, seed=0)
    assert 0.94 <= rates.difference <= 0.96
    assert 0.94 <= rates.retention <= 0.96
    assert rates.above_chance is None or 0.94 <= rates.above_chance <= 0.96
    assert rates.passed_at_retention <= 0.05
    assert rates.passed_at_margin <= 0.05


def test_few_changes_of_real_scores_are_judged_with_caution():
    """Where a t interval would pass a student on the margin more than 5 % of the time, the score interval does not."""
    rates = simulation.simulate(simulation.mostly_equal(60), 2000, seed=0)
    assert rates.difference >= 0.95
    assert max(rates.passed_at_margin, rates.passed_at_retention) <= 0.025


def test_corpus_metrics():
    rates = simulation.simulate(simulation.corpus("mcc", 150, 0.5, num_resamples=399), 2000, seed=0)
    assert 0.94 <= rates.difference <= 0.96
    assert 0.94 <= rates.retention <= 0.96
    assert max(rates.passed_at_margin, rates.passed_at_retention) <= 0.05


def test_losses_that_grow_with_very_uneven_lengths_are_known_to_be_held_too_seldom():
    """What docs/design/statistics.md says that it cannot do, and what a finding warns of."""
    rates = simulation.simulate(simulation.bits(200, "lognormal", 1.5, trend=0.01), 4000, seed=0)
    assert 0.91 <= rates.difference <= 0.94
    assert 0.91 <= rates.retention <= 0.94
    assert 0.05 <= rates.passed_at_margin <= 0.085


GAPS = [
    simulation.binary_gap(200, 0.5, 0.7, 0.4),
    simulation.binary_gap(200, 0.2, 0.35, 0.0),
    simulation.group_gap("14 tasks of 50", [50] * 14, 0.02, gap=0.1),
    simulation.bits_gap(200, "lognormal", 1.0),
    simulation.real_gap("continuous", 100, 1.0),
]


@pytest.mark.parametrize("setting", GAPS, ids=lambda setting: setting.name)
def test_intervals_of_the_recovered_gap_hold_the_truth(setting):
    rates = simulation.simulate_gap(setting, 4000, seed=0)
    assert 0.94 <= rates.held_where_given <= 0.96
    assert rates.held >= 0.94
    assert rates.undefined <= 0.08
    assert setting.recovered > 0 or rates.above_0 <= 0.035


def test_a_gap_that_is_hardly_there_is_seldom_given():
    """The true gap of 1 point is within the noise of 200 documents, so that no share of it can be told."""
    rates = simulation.simulate_gap(simulation.binary_gap(200, 0.5, 0.51, 0.4), 2000, seed=0)
    assert rates.undefined >= 0.9
    assert rates.held >= 0.95


def test_the_recovered_gap_of_corpus_metrics():
    rates = simulation.simulate_gap(simulation.corpus_gap("mcc", 150, num_resamples=399), 800, seed=0)
    assert 0.93 <= rates.held_where_given <= 0.97
