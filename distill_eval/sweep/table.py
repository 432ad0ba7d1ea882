"""A sweep as a table in the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from distill_eval.schema.sweep import SweepRun, SweepTrial

MEASURES = {"validation": "validation loss", "kl": "KL", "retention": "retention"}
"""What ranks, as its column is headed."""


def print_trials(sweep: SweepRun, console: Console) -> None:
    """One row per trial, the best first; what ranks stands in the title."""
    table = Table(
        title=f"{len(sweep.trials)} trials by {MEASURES[sweep.rank_by]}",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    headings = ["rank", "loss", "temperature", "alpha", "learning rate", "validation loss", "KL"]
    with_retention = sweep.rank_by == "retention"
    for heading in (*headings, *(["retention"] if with_retention else []), "folder", "end"):
        text = heading in ("loss", "folder", "end")
        table.add_column(heading, justify="left" if text else "right", overflow="fold")
    for trial in sweep.trials:
        measured = [_number(trial.validation_loss), _number(trial.kl)]
        if with_retention:
            measured.append("-" if trial.retention is None else f"{trial.retention:.1%}")
        table.add_row(
            str(trial.rank or "-"),
            trial.loss,
            f"{trial.temperature:.3g}",
            f"{trial.alpha:.3g}",
            f"{trial.learning_rate:.3g}",
            *measured,
            trial.folder,
            _end(trial),
        )
    console.print(table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _end(trial: SweepTrial) -> str:
    if trial.state == "finished":
        return "kept" if trial.has_weights else ""
    return f"{trial.state} at step {trial.num_steps}"
