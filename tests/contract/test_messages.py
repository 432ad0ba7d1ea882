"""A wrong command line is answered in the user's own words."""

import pytest

from distill_eval.cli import main

DISTILL = ["distill", "--student=s", "--teacher=t", "--data=d.jsonl", "--output-dir=o"]
SWEEP = ["sweep", *DISTILL[1:], "--alphas=0.5,0.9"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([*DISTILL, "--alpha=2"], "--alpha 2: expected a number from 0 to 1, e.g. 0.7"),
        ([*DISTILL, "--steps=0"], "--steps 0: expected 1 or more"),
        ([*DISTILL, "--teacher-weights=1,2"], "--teacher-weights 1,2: expected one number for each of 1 teachers"),
        ([*SWEEP, "--temperature=0"], "--temperature 0: expected a number above 0, e.g. 2"),
        ([*SWEEP, "--keep-best=0"], "--keep-best 0: expected 1 or more"),
    ],
    ids=["loss", "training", "run", "of a run in a sweep", "sweep"],
)
def test_a_value_that_we_refuse_is_refused_in_our_words(argv, message, capsys):
    assert main(argv) == 2
    assert capsys.readouterr().err == f"distill-eval: {message}\n"


@pytest.mark.parametrize("argv", [SWEEP, ["cache", "list"]], ids=["sweep", "cache"])
def test_several_processes_are_for_distill_alone(argv, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(argv) == 2
    assert "several processes share the work of `distill` alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [([*DISTILL, "--steps=many"], "--steps"), (["distill", "--student=s"], "--data"), (["distil"], "distil")],
    ids=["no number", "missing", "no such verb"],
)
def test_what_is_no_command_at_all_tyro_explains_once(argv, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("For full helptext") == 1
