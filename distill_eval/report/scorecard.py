"""One table, one verdict: the text of a report on a teacher and its variants, a function of the records alone."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence

from distill_eval.report import bench_rows, classifier, escape, fidelity, gate, markdown, numbers, planned, verdict
from distill_eval.report.decision import headline
from distill_eval.report.frontier import beaten_by, point, speed_at
from distill_eval.report.grounds import Entries, Grounds
from distill_eval.report.made import Making, section
from distill_eval.report.repeat import how_to_repeat
from distill_eval.report.rows import View, flips_cell, value_cell
from distill_eval.report.scores import columns, missing
from distill_eval.report.sections import findings, plain_table, with_notes
from distill_eval.report.table import Cell, Column, grid
from distill_eval.schema.bench import BenchRun
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.fidelity import Fidelity
from distill_eval.schema.report import Report, Variant
from distill_eval.schema.retention import Entry, Retention

TEXT = "report.md"


def render(found: Grounds) -> str:
    """The whole text, ending in a newline; the same records give the same bytes."""
    report, entries, names = found.report, found.entries, found.names
    makings: dict[str, Making] = {**found.students, **found.trainings, **found.quants, **found.exports}
    sections = [
        *_head(report, found.retentions),
        *_per_task(report, entries),
        *_flips(report, entries),
        *_frontier(report),
        *_speed(found.benches),
        *_fidelity(found.fidelities, names),
        *_classifiers(found.trainings),
        *planned.section(found.checks),
        *section(makings, found.models, names),
        *_details(found.retentions, names),
        findings(report.findings, fold=True),
        *how_to_repeat(report, found.retentions, found.made),
        HOW_TO_READ,
    ]
    return "\n\n".join(sections) + "\n"


def short(report: Report, retentions: Mapping[str, Retention]) -> str:
    """The verdict, the table and the gate alone, for a page that has room for no more."""
    return "\n\n".join(_head(report, retentions)) + "\n"


def _head(report: Report, retentions: Mapping[str, Retention]) -> list[str]:
    return [_title(report), _verdict(report), *_criterion(report, retentions), _table(report), *_gate(report)]


def _title(report: Report) -> str:
    students = [row for row in report.variants if row.role == "student"]
    teacher = escape.name(report.variants[0].name)
    if len(students) == 1:
        return f"# {escape.name(students[0].name)} beside its teacher {teacher}"
    return f"# {numbers.plural(len(students), 'variant')} beside the teacher {teacher}"


def _verdict(report: Report) -> str:
    first = headline(report.ship, report.variants, report.gate)
    rest = report.verdict.removeprefix(first).strip()
    return f"> **{escape.text(first)}**" + (f" {escape.text(rest)}" if rest else "")


def _criterion(report: Report, retentions: Mapping[str, Retention]) -> list[str]:
    told = verdict.criteria(retentions.values(), report)
    return [escape.text(told)] if told else []


def _gate(report: Report) -> list[str]:
    return [gate.section(report.gate)] if report.gate else []


def _table(report: Report) -> str:
    table = columns(report, escape.text)
    shown = [column for column in table if not column.empty]
    left = "\n".join(f"- {line}" for line in missing(report, table))
    before = [f"Speeds in the table are at {escape.text(report.load)}."] if report.load is not None else []
    behind = [f"Not in the table, since no variant has it:\n\n{left}"] if left else []
    return "\n\n".join([*before, with_notes(grid(shown)), *behind])


# ---- per task


def _matrix(report: Report, entries: Entries, cell: Callable[[Entry], Cell], why: str) -> str:
    """A row for each judged student, a column for each task."""
    students = [row for row in report.variants if row.name in entries]
    tasks = list(dict.fromkeys(entry.task for found in entries.values() for entry in found))
    shown = [Column("variant", tuple(Cell(escape.text(row.name)) for row in students), numeric=False)]
    for task in tasks:
        found = [next((entry for entry in entries[row.name] if entry.task == task), None) for row in students]
        cells = tuple(cell(entry) if entry is not None else Cell(numbers.UNDEFINED, (why,)) for entry in found)
        shown.append(Column(escape.text(task), cells))
    return with_notes(grid(shown))


def _per_task(report: Report, entries: Entries) -> list[str]:
    if not entries:
        return []
    return ["## Retention per task\n\n" + _matrix(report, entries, _kept, "this variant was not scored on this task")]


def _kept(entry: Entry) -> Cell:
    """Retention with its interval and the verdict; what fails in bold."""
    found = value_cell(entry.retention, numbers.RATIO)
    text = f"{found.text} {entry.verdict or ''}".strip()
    return Cell(f"**{text}**" if entry.verdict == "FAIL" else text, found.notes)


def _flips(report: Report, entries: Entries) -> list[str]:
    if not any(entry.flips is not None for found in entries.values() for entry in found):
        return []
    said = "Harmful (teacher right, variant wrong) / beneficial / wrong to another wrong, with shares of the documents."
    table = _matrix(
        report, entries, lambda entry: flips_cell(entry.flips, entry.num_pairs), "it was not scored on this task"
    )
    return [f"## Flips\n\n{said}\n\n{table}"]


# ---- what beats what


def _frontier(report: Report) -> list[str]:
    rows = [row for row in report.variants if row.on_frontier is not None]
    if all(row.role == "teacher" for row in rows):
        return ["## Frontier\n\nNo variant can be placed: of none were size, speed and retention all measured."]
    table = {
        "variant": [escape.text(row.name) for row in rows],
        "size": [numbers.optional(row.size_ratio, lambda ratio: f"{numbers.fixed(ratio, 2)}x") for row in rows],
        f"speedup at {report.load}": [_speedup(row, report.load) for row in rows],
        "retention": [numbers.optional(row.retention.value, numbers.percent) for row in rows],
        "on the frontier": [
            "yes" if row.on_frontier else f"no: beaten by {_names(beaten_by(row, report.variants, report.load))}"
            for row in rows
        ],
    }
    unplaced = [row.name for row in report.variants if row.role != "baseline" and point(row, report.load) is None]
    rest = f"\n\nNot placed, since size, speed or retention was not measured: {_names(unplaced)}." if unplaced else ""
    said = (
        "On the frontier is what no other variant beats by being at least as good in size, speed and retention and "
        "better in one. That goes by the estimates; their intervals may overlap."
    )
    shown = plain_table(table, numeric=frozenset(table) - {"variant", "on the frontier"})
    return [f"## Frontier\n\n{said}\n\n{shown}{rest}"]


def _speedup(row: Variant, load: str | None) -> str:
    speed = speed_at(row, load)
    if row.role == "teacher":
        return bench_rows.BASELINE
    return bench_rows.marked(speed.speedup if speed else None, bold=True)


def _names(names: Sequence[str]) -> str:
    return ", ".join(escape.text(name) for name in names)


# ---- the artifacts' own tables


def _speed(benches: Mapping[str, BenchRun]) -> list[str]:
    tables = []
    for where, run in benches.items():
        repeats, hardware = numbers.plural(run.num_repeats, "repeat"), escape.text(run.provenance.hardware)
        head = f"From {escape.name(where)}, {repeats}, on {hardware}:"
        if run.loads:
            tables.append(f"{head}\n\n{_rows(bench_rows.headings(run), bench_rows.rows(run, escape.text, bold=True))}")
        if any(model.classifier_results for model in run.models):
            batches = _rows(bench_rows.BATCH_HEADINGS, bench_rows.batch_rows(run, escape.text, bold=True))
            tables.append(f"{head}\n\n{batches}")
    return ["## Speed under each load\n\n" + "\n\n".join(tables)] if tables else []


def _rows(headings: Sequence[str], content: Sequence[Sequence[str]]) -> str:
    table = {name: [row[place] for row in content] for place, name in enumerate(headings)}
    return plain_table(table, numeric=frozenset(headings[2:]) - {"load"})


def _fidelity(fidelities: Mapping[str, Fidelity], names: Mapping[str, str]) -> list[str]:
    return [
        f"## Distributions beside {escape.name(names[run.reference.ref])}\n\n"
        f"{fidelity.measured_on(run)}\n\n{fidelity.summary(run, dict(names))}"
        for run in fidelities.values()
    ]


def _classifiers(trainings: Mapping[str, DistillRun]) -> list[str]:
    """What trainings measured of classifiers beside their teachers."""
    taught = {name: run for name, run in trainings.items() if run.teachers}
    return [text for name, run in taught.items() for text in classifier.sections(run, escape.name(name))]


def _details(retentions: Mapping[str, Retention], names: Mapping[str, str]) -> list[str]:
    """Every figure of each comparison, folded away."""
    found = []
    for where, run in retentions.items():
        tables = markdown.tables(run, View(show=escape.text, labels=dict(names)), heading="###")
        inner = "\n\n".join(tables)
        found.append(f"<details>\n<summary>{html.escape(escape.clean(where))}</summary>\n\n{inner}\n\n</details>")
    return ["## All figures of the comparisons\n\n" + "\n\n".join(found)] if found else []


HOW_TO_READ = """## How to read this

- **retention**: variant / teacher (teacher / variant where lower is better), the mean over tasks with the interval of
  that mean; the tasks are those that were asked, not a sample of all there are.
- **above chance**: (variant - chance) / (teacher - chance), over the tasks that have a chance level.
- **gap recovered**: (student - baseline) / (teacher - baseline); the baseline is the same student trained without a
  teacher.
- **KL**, **top-1 agreement**: of the next token's distribution, beside the teacher's on the same text; +/- is a
  standard error.
- **speedup**: output throughput over the teacher's, the geometric mean of repeats; what is slower is said.
- **verdict**: PASS where on every task the whole interval meets the criterion, FAIL where on one none of it does, else
  INCONCLUSIVE; so is a variant that was not judged on all tasks that others were judged on.
- What to ship: of those that pass the fastest under that load, then the smallest, then the one that keeps most.

Definitions and sources: docs/metrics.md."""
