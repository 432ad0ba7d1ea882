"""The estimate of the time left, on a console that is not a terminal."""

import io

import pytest
from rich.console import Console

from distill_eval.progress import ConsoleProgress, RunProgress


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


def watched(clock, **console):
    file = io.StringIO()
    return RunProgress(Console(file=file, width=100, **console), clock=lambda: clock[0]), file


def test_a_run_shows_its_stage_and_the_time_left_on_a_terminal(clock):
    view, file = watched(clock, force_terminal=True, color_system=None)
    with view:
        clock[0] = 100.0
        view.stage(3, 9, "distill", 3700.0)
        clock[0] = 160.0
    last = file.getvalue().rpartition("[3/9] distill")[2]
    assert "0:02:40" in last  # since the beginning
    assert "about 1:00:40 left" in last


def test_a_time_that_is_not_known_is_not_shown(clock):
    view, file = watched(clock, force_terminal=True, color_system=None)
    with view:
        view.stage(1, 2, "prepare", None)
    assert "[1/2] prepare" in file.getvalue()
    assert "left" not in file.getvalue()


def test_a_run_leaves_the_lines_alone_where_there_is_no_terminal(clock):
    view, file = watched(clock, force_terminal=False)
    with view:
        view.stage(1, 2, "prepare", 10.0)
    assert file.getvalue() == ""


def test_an_evaluation_stands_below_its_run(clock):
    """Both are on one console at once."""
    view, file = watched(clock, force_terminal=True, color_system=None)
    with view:
        view.stage(2, 3, "compare", None)
        with ConsoleProgress(view.console, clock=lambda: clock[0]) as progress:
            progress.start({"a": 10}, num_models=1)
            progress.update("student", "a", 0.5)
    assert "[2/3] compare" in file.getvalue()
    assert "student: a" in file.getvalue()
