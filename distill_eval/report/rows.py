"""Entries of a comparison as table columns, for the markdown report and for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isclose

from distill_eval.report import numbers
from distill_eval.report.numbers import UNDEFINED, Scale
from distill_eval.report.sections import short_names
from distill_eval.report.table import Cell, Column
from distill_eval.schema.retention import Entry, Estimate, Flips, Retention

NO_CHANCE = "no score of guessing is defined for this metric"
NO_FLIPS = "flips are counted for 0/1 metrics only"
NO_ANSWERS = "the answers are not known, so one wrong answer cannot be told from another"
NO_TEST = "no paired test was made"
NO_REASON = "no reason was recorded"
LOWER_IS_BETTER = "lower is better: a positive difference is a loss, and retention is teacher / student"
RIGHT_IS_0 = "a document is right that scores 0"
BITS_PER_BYTE = "in bits per byte of text, so that models with different tokenizers compare"

TEXT_COLUMNS = frozenset({"task", "variant", "metric", "verdict"})


@dataclass(frozen=True)
class View:
    """What the cells need to know beside their entry."""

    show: Callable[[str], str]
    """Makes foreign text harmless for the medium."""
    labels: dict[str, str]
    """Short name of each model, by its reference."""


def labels(retention: Retention) -> dict[str, str]:
    """A short name for each model: the last part of its path where that is unique, else all of it."""
    models = (retention.teacher, *retention.students, *retention.baselines)
    return short_names([model.ref for model in models])


def ordered(retention: Retention, entries: Sequence[Entry]) -> list[Entry]:
    """The entries task by task and metric by metric as they first appear, students in the order of the command."""
    students = [student.ref for student in retention.students]
    tasks = list(dict.fromkeys(entry.task for entry in entries))
    metrics = list(dict.fromkeys((entry.metric, entry.filter) for entry in entries))

    def place(entry: Entry) -> tuple[int, int, int]:
        student = students.index(entry.student_ref) if entry.student_ref in students else len(students)
        return tasks.index(entry.task), metrics.index((entry.metric, entry.filter)), student

    return sorted(entries, key=place)


def columns(entries: Sequence[Entry], view: View, *, level: float) -> dict[str, Column]:
    """Every column that a table of these entries can have, by key; the level goes into the headings."""
    interval = f"[{numbers.round_percent(level)}]"
    headers = {
        "difference": f"difference {interval}",
        "retention": f"retention {interval}",
        "above chance": f"above chance {interval}",
        "flips": "flips: harmful / beneficial / other",
    }
    makers: dict[str, Callable[[Entry], Cell]] = {
        "task": lambda e: task_cell(e, view),
        "variant": lambda e: Cell(view.show(view.labels.get(e.student_ref, e.student_ref))),
        "metric": lambda e: metric_cell(e, view),
        "n": _pairs,
        "chance": _chance,
        "teacher": lambda e: value_cell(e.teacher, numbers.score_scale(e.unit), interval=False),
        "student": lambda e: value_cell(e.student, numbers.score_scale(e.unit), interval=False),
        "difference": lambda e: value_cell(e.difference, numbers.difference_scale(e.unit)),
        "retention": lambda e: value_cell(e.retention, numbers.RATIO),
        "above chance": lambda e: value_cell(e.retention_above_chance, numbers.RATIO),
        "p (Holm)": lambda e: p_value_cell(e.p_adjusted, e.difference),
        "p (unadjusted)": lambda e: p_value_cell(e.p_value, e.difference),
        "flips": lambda e: flips_cell(e.flips, e.num_pairs),
        "could detect": _could_detect,
        "lm-eval prints": _as_printed,
        "verdict": verdict_cell,
    }
    return {
        key: Column(headers.get(key, key), tuple(make(entry) for entry in entries), numeric=key not in TEXT_COLUMNS)
        for key, make in makers.items()
    }


def task_cell(entry: Entry, view: View) -> Cell:
    """The task; a group with the number of its tasks."""
    name = view.show(entry.task)
    return Cell(f"{name} ({numbers.plural(entry.num_tasks, 'task')})" if entry.num_tasks > 1 else name)


def metric_cell(entry: Entry, view: View) -> Cell:
    """lm-eval's metric with its filter; its unit and direction in a note where they are not the usual ones."""
    name = view.show(entry.metric)
    if entry.filter != "none":
        name = f"{name} ({view.show(entry.filter)})"
    facts = [BITS_PER_BYTE] if entry.unit == "bits/byte" else []
    if not entry.higher_is_better:
        facts.append(LOWER_IS_BETTER)
    if not entry.higher_is_better and entry.flips is not None:
        facts.append(RIGHT_IS_0)
    return Cell(name, ("; ".join(facts),) if facts else ())


def verdict_cell(entry: Entry) -> Cell:
    """PASS, FAIL or INCONCLUSIVE; missing where no verdict rests on the entry."""
    return Cell(entry.verdict or UNDEFINED, missing=entry.verdict is None)


def _pairs(entry: Entry) -> Cell:
    pairs = numbers.count(entry.num_pairs)
    limited = entry.num_pairs != entry.num_docs_total
    return Cell(f"{pairs} of {numbers.count(entry.num_docs_total)}" if limited else pairs)


def _chance(entry: Entry) -> Cell:
    if entry.chance is None:
        return _missing(entry.retention_above_chance.reason or NO_CHANCE)
    return Cell(numbers.score_scale(entry.unit).show(entry.chance))


def value_cell(estimate: Estimate, scale: Scale, *, interval: bool = True) -> Cell:
    """The value with its interval; `-` and the reason as a note for what is undefined."""
    if estimate.value is None:
        return _missing(estimate.reason)
    shown = scale.show(estimate.value)
    if not interval:
        return Cell(shown)
    bounded = estimate.ci_low is not None and estimate.ci_high is not None
    ends = scale.interval(estimate.ci_low, estimate.ci_high)
    return Cell(f"{shown} {ends}", () if bounded else (estimate.reason or NO_REASON,))


def p_value_cell(probability: float | None, difference: Estimate) -> Cell:
    """The p-value of a difference; `-` and the reason as a note where there is none."""
    if probability is None:
        return _missing(difference.reason or NO_TEST)
    return Cell(numbers.p_value(probability))


def flips_cell(flips: Flips | None, num_pairs: int) -> Cell:
    """Harmful, beneficial and wrong-to-other-wrong documents: the counts, then their shares of the documents."""
    if flips is None:
        return _missing(NO_FLIPS)
    kinds = (flips.num_harmful, flips.num_beneficial, flips.num_wrong_to_other_wrong)
    counts = " / ".join(UNDEFINED if kind is None else numbers.count(kind) for kind in kinds)
    notes = (NO_ANSWERS,) if None in kinds else ()
    if num_pairs == 0:
        return Cell(counts, notes)
    shares = " / ".join(UNDEFINED if kind is None else numbers.fixed(100 * kind / num_pairs, 1) for kind in kinds)
    return Cell(f"{counts} ({shares} %)", notes)


def _could_detect(entry: Entry) -> Cell:
    if entry.power.detectable_drop is None:
        return _missing(entry.power.reason)
    return Cell(numbers.difference_scale(entry.unit)._replace(sign=False).show(entry.power.detectable_drop))


def _as_printed(entry: Entry) -> Cell:
    """lm-eval's own scores, teacher / student, where they are another quantity than the columns show."""
    pairs = ((entry.teacher.value, entry.lm_eval_teacher), (entry.student.value, entry.lm_eval_student))
    if entry.lm_eval_teacher is None and entry.lm_eval_student is None:
        return _missing(entry.lm_eval_reason)
    if all(
        ours is not None and printed is not None and isclose(ours, printed, abs_tol=1e-6) for ours, printed in pairs
    ):
        return Cell("same", missing=True)
    shown = " / ".join(numbers.optional(printed, lambda value: numbers.fixed(value, 4)) for _, printed in pairs)
    known = None not in (entry.lm_eval_teacher, entry.lm_eval_student)
    return Cell(shown, () if known else (entry.lm_eval_reason or NO_REASON,))


def _missing(reason: str | None) -> Cell:
    return Cell(UNDEFINED, (reason or NO_REASON,), missing=True)
