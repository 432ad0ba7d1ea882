"""What distillation bought, in a sentence and as table columns: the student against its baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from distill_eval.report import numbers
from distill_eval.report.rows import View, metric_cell, p_value_cell, task_cell, value_cell
from distill_eval.report.table import Cell, Column
from distill_eval.schema.retention import Bought, Entry, Estimate, Outcome

MAX_NAMED = 3
"""Tasks that each part of the sentence names; the table has them all."""

TEXT_COLUMNS = frozenset({"task", "variant", "held against", "metric", "student is"})

Held = tuple[Entry, Bought]
"""An entry of a student that has a baseline, and what distillation bought there."""
Show = Callable[[str], str]
"""Makes foreign text harmless for the medium."""


def held(entries: Sequence[Entry]) -> list[Held]:
    """The entries that a baseline stands beside."""
    return [(entry, entry.bought) for entry in entries if entry.bought is not None]


def sentence(pairs: Sequence[Held], show: Show) -> str:
    """One student's sentence: on which tasks distillation bought how much, did harm, or nothing that can be seen.

    What counts as bought is what the adjusted test finds (`Bought.outcome`).
    """
    said: dict[Outcome | None, list[Held]] = {}
    for pair in pairs:
        said.setdefault(pair[1].outcome, []).append(pair)
    better = said.get("better", [])
    recovered = _listed([pair for pair in better if pair[1].gap_recovered.value is not None], show, _recovered)
    gained = _listed([pair for pair in better if pair[1].gap_recovered.value is None], show, _changed)
    harmed = _listed(said.get("worse", []), show, _changed)
    unclear, unknown = (_listed(said.get(outcome, []), show, _named) for outcome in ("unclear", None))
    clauses = (  # what stands before and after the subject, where there is something to say
        (recovered, "", f" recovered {recovered}"),
        (gained, "", f" gained {gained}, where there is no gap to recover"),
        (harmed, "", f" did harm: {harmed}"),
        (unclear, f"on {unclear} what ", " bought is not distinguishable from nothing"),
        (unknown, f"on {unknown} what ", " bought is not known"),
    )
    parts = [(before, after) for tasks, before, after in clauses if tasks]
    subjects = ["distillation", *["it"] * len(parts)]
    text = "; ".join(f"{before}{subject}{after}" for (before, after), subject in zip(parts, subjects, strict=False))
    return f"{text[:1].upper()}{text[1:]}."


def _listed(pairs: Sequence[Held], show: Show, say: Callable[[Held, Show], str]) -> str:
    """`a, b and 2 other tasks`; empty for no pairs."""
    texts = [say(pair, show) for pair in pairs[:MAX_NAMED]]
    if len(pairs) > MAX_NAMED:
        texts.append(numbers.plural(len(pairs) - MAX_NAMED, "other task"))
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)


def _named(pair: Held, show: Show) -> str:
    return show(pair[0].task)


def _recovered(pair: Held, show: Show) -> str:
    return f"{_with_interval(pair[1].gap_recovered, numbers.RATIO)} of the gap on {show(pair[0].task)}"


def _changed(pair: Held, show: Show) -> str:
    entry, bought = pair
    unit = "" if entry.unit in ("share", "score") else f" {entry.unit}"
    return f"{_with_interval(bought.difference, numbers.difference_scale(entry.unit))}{unit} on {show(entry.task)}"


def _with_interval(estimate: Estimate, scale: numbers.Scale) -> str:
    return f"{numbers.optional(estimate.value, scale.show)} {scale.interval(estimate.ci_low, estimate.ci_high)}"


def columns(pairs: Sequence[Held], view: View, *, level: float) -> dict[str, Column]:
    """Every column that a table of these can have, by key; the level goes into the headings."""
    interval = f"[{numbers.round_percent(level)}]"
    headers = {key: f"{key} {interval}" for key in ("student - baseline", "teacher - baseline", "gap recovered")}
    makers: dict[str, Callable[[Entry, Bought], Cell]] = {
        "task": lambda e, b: task_cell(e, view),
        "variant": lambda e, b: Cell(view.show(view.labels.get(e.student_ref, e.student_ref))),
        "held against": lambda e, b: Cell(view.show(view.labels.get(b.baseline_ref, b.baseline_ref))),
        "metric": lambda e, b: metric_cell(e, view),
        "teacher": lambda e, b: value_cell(e.teacher, numbers.score_scale(e.unit), interval=False),
        "student": lambda e, b: value_cell(e.student, numbers.score_scale(e.unit), interval=False),
        "baseline": lambda e, b: value_cell(b.baseline, numbers.score_scale(e.unit), interval=False),
        "student - baseline": lambda e, b: value_cell(b.difference, numbers.difference_scale(e.unit)),
        "p (Holm)": lambda e, b: p_value_cell(b.p_adjusted, b.difference),
        "student is": lambda e, b: outcome_cell(b),
        "teacher - baseline": lambda e, b: value_cell(b.gap, numbers.difference_scale(e.unit)),
        "gap recovered": lambda e, b: value_cell(b.gap_recovered, numbers.RATIO),
    }
    return {
        key: Column(headers.get(key, key), tuple(make(*pair) for pair in pairs), numeric=key not in TEXT_COLUMNS)
        for key, make in makers.items()
    }


def outcome_cell(bought: Bought) -> Cell:
    """`better`, `worse` or `unclear`; `-` without a test."""
    return Cell(bought.outcome or numbers.UNDEFINED)


def how_to_read(level: float) -> list[str]:
    """What the columns mean, a line each."""
    return [
        (
            "**baseline**: the same student trained without a teacher. **student - baseline** is what distillation "
            f"bought, **teacher - baseline** the gap there was, with their {numbers.round_percent(level)} intervals."
        ),
        (
            "**student is**: better or worse than its baseline where p (Holm), adjusted for the number of tasks, is "
            f"below {1 - level:.6g}; else unclear."
        ),
        (
            "**gap recovered**: (student - baseline) / (teacher - baseline); 0 % bought nothing, 100 % is as good as "
            "the teacher. Not given where the baseline cannot be told from the teacher."
        ),
    ]
