"""Optuna's part of a sweep: which trial is next, when one is given up, and that a killed sweep draws the same."""

import pytest

from distill_eval.distill.config import DistillConfig
from distill_eval.distill.data_config import DataConfig
from distill_eval.sweep.config import SweepConfig
from distill_eval.sweep.study import Study


def study(folder, **options):
    run = DistillConfig(student="s", teacher=("t",), data=DataConfig(data="d.jsonl"), output_dir=folder)
    return Study(SweepConfig(distill=run, **options), folder, 2)


def play(one, values, *, stop_after=None):
    """Give the trials these final values; returns the points that were tried."""
    points = []
    for value in values:
        trial = one.next()
        points.append(one.point(trial))
        if len(points) == stop_after:
            return points  # as if killed: the study never hears of it
        one.finish(trial, value)
    return points


GRID = {"alphas": ("0.5", "0.7"), "losses": ("forward_kl", "jsd")}


def test_a_grid_is_tried_in_order_and_ends(tmp_path):
    one = study(tmp_path, **GRID)
    assert play(one, [3.0, 1.0, 2.0, 4.0]) == [
        {"loss": loss, "alpha": alpha} for loss in ("forward_kl", "jsd") for alpha in (0.5, 0.7)
    ]
    assert one.next() is None
    assert study(tmp_path, **GRID).next() is None


def test_a_killed_sweep_goes_on_with_the_trial_that_was_running(tmp_path):
    seen = play(study(tmp_path, **GRID), [3.0, 1.0], stop_after=2)
    again = study(tmp_path, **GRID)
    trial = again.next()
    assert (trial.number, again.point(trial)) == (1, seen[1])


def test_tpe_draws_within_its_ranges_and_the_same_after_a_kill(tmp_path):
    space = {"learning_rates": ("1e-5:1e-3",), "alphas": ("0.3:0.9",), "sampler": "tpe", "num_trials": 14}
    values = [float(number % 5) for number in range(14)]
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = play(study(tmp_path / "whole", **space), values)
    cut = play(study(tmp_path / "cut", **space), values, stop_after=12)[:-1]
    cut += play(study(tmp_path / "cut", **space), values[11:])
    assert cut == whole
    rates = [point["learning_rate"] for point in whole]
    assert all(1e-5 <= rate <= 1e-3 for rate in rates)
    assert sum(rate < 1e-4 for rate in rates) >= 4  # by the logarithm: half of the range, not a tenth
    assert len({point["alpha"] for point in whole}) == 14


def reported(one, values):
    """One trial with these values at steps 2, 4, ...; returns the step at which it is given up."""
    trial = one.next()
    one.point(trial)
    for number, value in enumerate(values, 1):
        if one.is_worse(trial, 2 * number, value):
            one.give_up(trial, "worse", failed=False)
            return 2 * number
    one.finish(trial, values[-1])
    return None


RATES = {"learning_rates": tuple(f"{number}e-4" for number in range(1, 9))}


@pytest.mark.parametrize(("prune", "expected"), [("none", None), ("median", 4)], ids=["none", "median"])
def test_the_median_of_the_finished_trials_decides_from_the_fourth_on(tmp_path, prune, expected):
    one = study(tmp_path, prune=prune, **RATES)
    assert [reported(one, [9.0, value]) for value in (1.0, 3.0, 2.0)] == [None] * 3
    assert reported(one, [8.0, 2.1]) == expected
    assert reported(one, [8.0, 1.5]) is None


def test_halving_keeps_the_better_half_at_each_rung(tmp_path):
    one = study(tmp_path, prune="halving", **RATES)
    assert reported(one, [4.0, 4.0, 4.0, 4.0]) is None
    assert reported(one, [3.0, 5.0, 3.0, 3.0]) == 4
    assert reported(one, [5.0, 1.0, 1.0, 1.0]) == 2
    assert reported(one, [2.0, 2.0, 2.0, 2.0]) is None


def test_a_validation_that_was_told_before_the_kill_is_told_again_in_silence(tmp_path, recwarn):
    one = study(tmp_path, prune="median", **RATES)
    trial = one.next()
    one.point(trial)
    assert not one.is_worse(trial, 2, 1.0)
    assert not one.is_worse(trial, 2, 1.0)
    assert not recwarn.list
