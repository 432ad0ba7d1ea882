"""`distill-eval sweep` as a user types it, on tiny models: ranked, pruned, killed and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from fakes.tiny_runs import command, write_models_and_text
from fakes.tiny_tasks import write_tasks

from distill_eval.cli import main

RATES = "3e-3,1e-3,3e-4,1e-12,1e30"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A teacher, a student, a text and tasks."""
    root = write_models_and_text(tmp_path_factory.mktemp("sweep"))
    write_tasks(root / "tasks", num_docs=6)
    return root


def argv(place, output, *extra, verb="sweep"):
    return [*command(verb, place, output, batch_size=2, eval_every=2, max_skipped=1), *extra]


def rates(place, output, *extra):
    return argv(place, output, f"--learning-rates={RATES}", "--prune=median", *extra)


def trials(folder):
    return json.loads((folder / "sweep.json").read_text())["trials"]


@pytest.fixture(scope="module")
def swept(place):
    """A finished sweep."""
    assert main(rates(place, place / "swept")) == 0
    return place / "swept"


def test_trials_are_ranked_by_what_distill_itself_says(place, swept, tmp_path, capsys):
    found = trials(swept)
    assert [(trial["learning_rate"], trial["state"]) for trial in found if trial["rank"] is None] == [
        (1e-12, "pruned"),
        (1e30, "failed"),
    ]
    ranked = [trial for trial in found if trial["rank"] is not None]
    assert [trial["rank"] for trial in ranked] == [1, 2, 3]
    losses = [trial["validation_loss"] for trial in ranked]
    assert losses == sorted(losses)
    assert losses[0] < losses[-1]
    best = ranked[0]
    assert main(argv(place, tmp_path / "alone", f"--learning-rate={best['learning_rate']}", verb="distill")) == 0
    alone = json.loads((tmp_path / "alone" / "distill.json").read_text())
    assert best["validation_loss"] == alone["after"]["hard_loss"]
    assert best["kl"] == alone["after"]["kl"]
    assert [point["step"] for point in best["validations"]] == [2, 4, 6]


def test_a_trial_that_ends_early_says_when_and_why(swept):
    pruned, failed = trials(swept)[3:]
    assert (pruned["num_steps"], pruned["validation_loss"]) == (2, None)
    assert pruned["reason"].startswith("pruned at step 2 of 6: eval_loss ")
    assert "a loss or gradient that is not a number (--max-skipped 1)" in failed["reason"]


def test_the_best_student_is_kept_and_of_the_others_the_record(swept):
    kept = {trial["number"] for trial in trials(swept) if trial["has_weights"]}
    assert kept == {trials(swept)[0]["number"]}
    for number in range(5):
        folder = swept / f"trial-{number:03}"
        assert (folder / "model.safetensors").is_file() == (number in kept)
        assert (folder / "distill.json").is_file() == (number < 3)
        assert not list(folder.glob("checkpoint-*"))


def test_a_killed_sweep_ends_as_an_uninterrupted_one(place, swept, tmp_path, capsys):
    killed = [sys.executable, "-m", "distill_eval.cli", *rates(place, tmp_path / "cut")]
    process = subprocess.Popen(killed, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=-3, stderr=-3)
    while process.poll() is None and not (tmp_path / "cut" / "trial-001" / "checkpoint-4" / "complete.json").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut" / "sweep.json").exists()
    assert main(rates(place, tmp_path / "cut", "--resume")) == 0
    said = capsys.readouterr().out
    assert "trial 1 of 5" not in said
    assert "trial 2 of 5: learning_rate 0.001\n" in said
    assert "going on from checkpoint-4" in said
    assert trials(tmp_path / "cut") == [
        trial | ({"reason": trial["reason"].replace(str(swept), str(tmp_path / "cut"))} if trial["reason"] else {})
        for trial in trials(swept)
    ]


def test_a_folder_with_another_sweep_is_refused_with_the_difference(place, swept, capsys):
    assert main(rates(place, swept)) == 2
    assert "add --resume to go on with it" in capsys.readouterr().err
    assert main(rates(place, swept, "--resume", "--alphas=0.5,0.9", "--temperature=3")) == 2
    said = capsys.readouterr().err
    assert "--alphas was empty and is 0.5,0.9" in said
    assert "--temperature was 2.0 and is 3.0" in said


def test_bad_input_is_refused_before_the_first_trial(place, tmp_path, capsys):
    assert main(rates(place, tmp_path / "out", "--batch-size=900")) == 2
    assert "less than one batch of 900" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    assert main(rates(place, tmp_path / "mine")) == 2
    assert "is not empty" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_students_are_ranked_by_what_they_keep_of_the_teacher(place, tmp_path, capsys):
    words = ["--learning-rates=1e-12,3e-3", "--rank-by=retention", "--limit=5", f"--include-path={place / 'tasks'}"]
    assert main(argv(place, tmp_path / "out", *words, "--tasks=tiny_text")) == 0
    best, worst = trials(tmp_path / "out")
    assert best["retention"] > worst["retention"]
    assert (best["learning_rate"], worst["learning_rate"]) == (3e-3, 1e-12)
    for trial in (best, worst):
        compared = json.loads((tmp_path / "out" / trial["folder"] / "retention" / "retention.json").read_text())
        assert trial["retention"] == compared["verdicts"][0]["mean_retention"]
    whole = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert whole["retention_before"] == pytest.approx(worst["retention"], rel=1e-6)
    assert f"{best['retention']:.1%}" in capsys.readouterr().out
    assert main(argv(place, tmp_path / "x", *words, "--tasks=no_such_task")) == 1
    assert "no_such_task" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
