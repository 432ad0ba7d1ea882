"""A sweep as a table in the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table

from distill_eval.schema.sweep import SweepRun, SweepTrial

MEASURES = {"validation": "validation loss", "kl": "KL", "retention": "retention"}
"""What ranks, as its column is headed."""
TEXT = ("loss", "folder", "end")


def print_trials(sweep: SweepRun, console: Console) -> None:
    """One row per trial, the best first; what ranks stands in the title, what is the same in all trials is left out."""
    title = f"{len(sweep.trials)} trials by {MEASURES[sweep.rank_by]}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    rows = [_row(sweep, trial) for trial in sweep.trials]
    for heading in rows[0] if rows else ():
        justify: JustifyMethod = "left" if heading in TEXT else "right"
        table.add_column(heading.replace(" ", "\n"), justify=justify, overflow="fold", no_wrap=heading != "end")
    for row in rows:
        table.add_row(*row.values())
    console.print(table)


def _row(sweep: SweepRun, trial: SweepTrial) -> dict[str, str]:
    """What stands under each heading."""
    options = {
        "--losses": ("loss", trial.loss),
        "--temperatures": ("temperature", f"{trial.temperature:.3g}"),
        "--alphas": ("alpha", f"{trial.alpha:.3g}"),
        "--learning-rates": ("learning rate", f"{trial.learning_rate:.3g}"),
    }
    measured = {"validation loss": _number(trial.validation_loss), "KL": _number(trial.kl)}
    if sweep.rank_by == "retention":
        measured["retention"] = "-" if trial.retention is None else f"{trial.retention:.1%}"
    return {
        "rank": str(trial.rank or "-"),
        **dict(option for flag, option in options.items() if flag in sweep.space),
        **measured,
        "folder": trial.folder,
        "end": _end(trial),
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _end(trial: SweepTrial) -> str:
    if trial.state == "finished":
        return "kept" if trial.has_weights else ""
    return f"{trial.state} at step {trial.num_steps}"
