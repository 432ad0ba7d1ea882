"""The estimate of the time left, on a console that is not a terminal."""

import io

import pytest
from rich.console import Console

from distill_eval.progress import ConsoleProgress


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def progress(clock):
    return ConsoleProgress(Console(file=io.StringIO(), force_terminal=False), clock=lambda: clock[0])


def test_the_estimate_starts_with_the_scoring_and_counts_all_models(progress, clock, capsys):
    clock[0] = 600.0  # a download
    progress.start({"a": 10, "b": 30}, num_models=2)
    progress.update("teacher", "a", 0.0)
    clock[0] += 5.0
    progress.update("teacher", "a", 1.0)
    assert capsys.readouterr().err == "teacher: a 100% (12% of all, about 35 s left)\n"


def test_what_was_there_already_says_nothing_about_the_speed(progress, clock, capsys):
    progress.start({"a": 100}, num_models=1)
    progress.update("org/student", "a", 0.5)  # resumed
    clock[0] = 40.0
    progress.update("org/student", "a", 0.75)
    assert capsys.readouterr().err == "student: a 75% (75% of all, about 40 s left)\n"


def test_a_task_from_the_cache_gives_no_estimate(progress, capsys):
    progress.start({"a": 1, "b": 1}, num_models=1)
    progress.update("student", "a", 1.0)
    assert capsys.readouterr().err == "student: a 100% (50% of all)\n"


def test_lines_come_now_and_then(progress, clock, capsys):
    progress.start({"a": 100}, num_models=1)
    for second in range(61):
        clock[0] = float(second)
        progress.update("student", "a", second / 100)
    assert capsys.readouterr().err.count("\n") == 2
