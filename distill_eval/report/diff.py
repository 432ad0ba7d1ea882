"""The text of `diff.md`: what changed from one run to the next, a function of the record alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from distill_eval.report import escape, gate, numbers
from distill_eval.report.bench_rows import speedup
from distill_eval.report.rows import flips_cell, p_value_cell, value_cell
from distill_eval.report.sections import findings, how_to_repeat, with_notes
from distill_eval.report.table import Cell, Column, grid
from distill_eval.schema.diff import Diff, StudentChange, TaskChange
from distill_eval.schema.retention import Estimate

ARTIFACT = "diff.json"
TEXT = "diff.md"
KL = numbers.Scale(1, 4, "")
APART = "not paired: "
HOW_TO_READ = """## How to read this

- **difference**: after minus before; pp is percentage points. Where both students answered the same documents they are
  paired document by document, else the intervals of two independent estimates are put together, which is wider.
- **p (Holm)**: the probability of a difference at least this large between equally good students, adjusted for the
  number of tasks.
- **flips**: harmful is right before and wrong after, beneficial the reverse, other is both wrong with different
  answers; counts, then shares of n.
- **speedup**: over the teacher in the same benchmark. The two benchmarks were not measured in turn, so no interval is
  given for the step from one to the other."""


def render(found: Diff) -> str:
    """The whole report, ending in a newline; the same record gives the same bytes."""
    sections = [
        short(found).rstrip("\n"),
        findings(found.findings),
        how_to_repeat([found.provenance]),
        HOW_TO_READ,
    ]
    return "\n\n".join(sections) + "\n"


def short(found: Diff) -> str:
    """What changed, without how to repeat and to read it."""
    title = f"# What changed from {escape.name(found.before.path)} to {escape.name(found.after.path)}"
    said = "\n>\n".join(f"> {escape.name(one.name)}: {sentence(one, escape.text)}" for one in found.students)
    rules = [gate.section(found.gate)] if found.gate else []
    return "\n\n".join([title, said, *rules, *(_student(one, found.level) for one in found.students)]) + "\n"


def sentence(one: StudentChange, show: Callable[[str], str]) -> str:
    """How many tasks became better or worse, by name where they are worse."""
    if not one.tasks:
        return "no task was compared."
    worse = [task for task in one.tasks if task.outcome == "worse"]
    better = sum(task.outcome == "better" for task in one.tasks)
    rest = len(one.tasks) - len(worse) - better
    parts = []
    if worse:
        named = ", ".join(f"{show(task.task)} {_difference(task)}" for task in worse)
        parts.append(f"worse on {len(worse):,} of {numbers.plural(len(one.tasks), 'task')} ({named})")
    if better:
        parts.append(f"better on {better:,} of {numbers.plural(len(one.tasks), 'task')}")
    if rest:
        parts.append(f"no difference can be told on {rest:,} of {numbers.plural(len(one.tasks), 'task')}")
    return "; ".join(parts) + "."


def _difference(task: TaskChange) -> str:
    return value_cell(task.difference, numbers.difference_scale(task.unit)).text


def _student(one: StudentChange, level: float) -> str:
    parts = [f"## {escape.text(one.name)}", _overview(one)]
    if one.tasks:
        parts.append(_tasks(one.tasks, level))
    return "\n\n".join(parts)


def _overview(one: StudentChange) -> str:
    """What is one number of the whole student."""
    rows: list[tuple[str, Cell, Cell, Cell]] = [
        _row("parameters", one.num_parameters_before, one.num_parameters_after, numbers.count),
        _row("bytes of its weights", one.size_bytes_before, one.size_bytes_after, numbers.size),
        (
            "retention, mean over its run's tasks",
            value_cell(one.retention_before, numbers.RATIO),
            value_cell(one.retention_after, numbers.RATIO),
            _retention_step(one),
        ),
        (
            "verdict",
            Cell(one.verdict_before or numbers.UNDEFINED),
            Cell(one.verdict_after or numbers.UNDEFINED),
            Cell(""),
        ),
        (
            "KL to the teacher, nats per token",
            value_cell(one.kl_before, KL),
            value_cell(one.kl_after, KL),
            _step(one.kl_before, one.kl_after, KL._replace(sign=True)),
        ),
    ]
    rows += [
        (f"speedup at {escape.text(speed.load)}", Cell(speedup(speed.before)), Cell(speedup(speed.after)), Cell(""))
        for speed in one.speeds
    ]
    columns = [Column("", tuple(Cell(row[0]) for row in rows), numeric=False)]
    headings = ("before", "after", "change")
    columns += [Column(name, tuple(row[place] for row in rows)) for place, name in enumerate(headings, 1)]  # type: ignore[misc]
    return with_notes(grid(columns))


def _row(name: str, before: int | None, after: int | None, show: Callable[[int], str]) -> tuple[str, Cell, Cell, Cell]:
    shown = [Cell(numbers.UNDEFINED if value is None else show(value)) for value in (before, after)]
    change = Cell("")
    if before and after is not None:
        change = Cell(f"{numbers.fixed(after / before, 3)}x")
    return name, shown[0], shown[1], change


def _retention_step(one: StudentChange) -> Cell:
    """None from one set of tasks to another: a student that is the same would seem to have changed."""
    if one.retention_apart is not None:
        return Cell(numbers.UNDEFINED, (one.retention_apart,))
    return _step(one.retention_before, one.retention_after, numbers.difference_scale("share"))


def _step(before: Estimate, after: Estimate, scale: numbers.Scale) -> Cell:
    """The change of a value whose interval is not known."""
    if before.value is None or after.value is None:
        return Cell("")
    return Cell(scale.show(after.value - before.value))


def _tasks(tasks: Sequence[TaskChange], level: float) -> str:
    interval = f"[{numbers.round_percent(level)}]"
    columns = {
        "task": [Cell(_name(task)) for task in tasks],
        "metric": [Cell(escape.text(task.metric)) for task in tasks],
        "n": [_documents(task) for task in tasks],
        "before": [value_cell(task.before, numbers.score_scale(task.unit), interval=False) for task in tasks],
        "after": [value_cell(task.after, numbers.score_scale(task.unit), interval=False) for task in tasks],
        f"difference {interval}": [_with_note(task) for task in tasks],
        "retention before": [value_cell(task.retention_before, numbers.RATIO) for task in tasks],
        "retention after": [value_cell(task.retention_after, numbers.RATIO) for task in tasks],
        "p (Holm)": [_p_value(task) for task in tasks],
        "flips: harmful / beneficial / other": [_flips(task) for task in tasks],
        "is": [Cell(task.outcome or numbers.UNDEFINED) for task in tasks],
    }
    words = ("task", "metric", "is")
    return with_notes(grid([Column(name, tuple(cells), numeric=name not in words) for name, cells in columns.items()]))


def _name(task: TaskChange) -> str:
    name = escape.text(task.task)
    return f"{name} ({numbers.plural(task.num_tasks, 'task')})" if task.num_tasks > 1 else name


def _documents(task: TaskChange) -> Cell:
    """The documents of the difference: common ones, else those of each run."""
    both = f"{task.num_docs_before:,} / {task.num_docs_after:,}"
    if task.num_pairs is None:
        return Cell(both)
    if task.num_pairs == task.num_docs_before == task.num_docs_after:
        return Cell(numbers.count(task.num_pairs))
    return Cell(numbers.count(task.num_pairs), (f"in common, of {both} documents before / after",))


def _with_note(task: TaskChange) -> Cell:
    cell = value_cell(task.difference, numbers.difference_scale(task.unit))
    if task.reason is None:
        return cell
    return Cell(cell.text, (*cell.notes, APART + task.reason), missing=cell.missing)


def _p_value(task: TaskChange) -> Cell:
    cell = p_value_cell(task.p_adjusted, task.difference)
    return cell if task.reason is None else Cell(cell.text, (APART + task.reason,))


def _flips(task: TaskChange) -> Cell:
    if task.reason is not None:
        return Cell(numbers.UNDEFINED, (APART + task.reason,))
    return flips_cell(task.flips, task.num_pairs or 0)
