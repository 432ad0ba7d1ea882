"""The ranked trials in the terminal."""

import io

from rich.console import Console

from distill_eval.schema.model import ModelRef
from distill_eval.schema.retention import Provenance
from distill_eval.schema.sweep import SweepRun, SweepTrial
from distill_eval.sweep.table import print_trials


def trial(number, **facts):
    facts = {"state": "finished", "reason": None, "rank": None, "validation_loss": None, "kl": None} | facts
    options = {"loss": "forward_kl", "temperature": 2.0, "alpha": 0.7, "learning_rate": 3e-4, "retention": None}
    return SweepTrial(
        number=number,
        folder=f"trial-{number:03}",
        num_steps=20,
        validations=(),
        **{"has_weights": False} | options | facts,
    )


def test_the_best_is_first_and_a_pruned_trial_says_when():
    sweep = SweepRun(
        student=ModelRef.parse("s"),
        teachers=(ModelRef.parse("t"),),
        sampler="grid",
        pruner="median",
        rank_by="retention",
        space={"--learning-rates": "3e-4,1e-4", "--losses": "forward_kl"},
        tasks=("arc_easy",),
        limit=None,
        retention_before=0.5,
        trials=(
            trial(1, rank=1, validation_loss=2.5, kl=0.25, retention=0.913, has_weights=True),
            trial(0, rank=2, validation_loss=2.4, kl=0.3, retention=0.9, learning_rate=1e-4),
            trial(2, state="pruned", reason="pruned at step 20 of 100: eval_loss 3.1"),
        ),
        provenance=Provenance(command="distill-eval sweep", versions={}, hardware="cpu", git_commit=None),
    )
    console = Console(file=io.StringIO(), width=100)
    print_trials(sweep, console)
    lines = [line.split() for line in console.file.getvalue().splitlines() if line.strip()]
    assert lines[0] == ["3", "trials", "by", "retention"]
    assert [line for line in lines if "forward_kl" in line] == [
        ["1", "forward_kl", "0.0003", "2.5000", "0.2500", "91.3%", "trial-001", "kept"],
        ["2", "forward_kl", "0.0001", "2.4000", "0.3000", "90.0%", "trial-000"],
        ["-", "forward_kl", "0.0003", "-", "-", "-", "trial-002", "pruned", "at", "step", "20"],
    ]
    assert "temperature" not in console.file.getvalue()
