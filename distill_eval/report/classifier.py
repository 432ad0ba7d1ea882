"""What a finished training came to, for the terminal; a classifier with what it does and costs beside its teachers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from distill_eval.report import escape, numbers
from distill_eval.report.sections import plain_table
from distill_eval.schema.distill import Classification, ClassifierFigures, DistillRun

HEADINGS = ("model", "param.", "file MB", "acc. %", "95 %", "macro F1 %", "p50 ms", "p95 ms", "resident MB")
_UNKNOWN = "-"
Measure = tuple[str, Callable[[float], str]]
OF_TEXTS = {
    "hard_loss": "loss (nats per text)",
    "kl": "KL to the teacher (nats per text)",
    "top1_agreement": "same label as the teacher",
    "num_tokens": "texts",
}
"""What measures of language models are called here."""


def print_finished(run: DistillRun, console: Console) -> None:
    """A classifier's table, the validation before and after, and the findings."""
    before, after = run.before, run.after
    near = f", KL to the teacher {before.kl:.3f} -> {after.kl:.3f} nats" if after.kl is not None else ""
    if before.uld is not None and after.uld is not None:
        near = f", ULD distance to the teacher {before.uld:.3f} -> {after.uld:.3f}"
    lines = [f"Validation perplexity {before.perplexity:.2f} -> {after.perplexity:.2f}{near}"]
    found = run.classification
    if found is not None:
        table = Table(title=Text(f"{found.measured_on}: {found.student.num_texts:,} texts"), title_justify="left")
        for heading in HEADINGS:
            table.add_column(heading, justify="left" if heading == HEADINGS[0] else "right", overflow="fold")
        for row in _rows(found):
            table.add_row(*map(Text, row))
        console.print(table)
        lines = [*_notes(found), f"Validation accuracy {before.accuracy:.4f} -> {after.accuracy:.4f}{near}"]
    for line in [*lines, *(f"{finding.weight}: {finding.text}" for finding in run.findings)]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def measures(others: Mapping[str, Measure]) -> dict[str, Measure]:
    """The rows of a table of validations, where a row of the data is a text with a label.

    Args:
        others: Those of language models: by key, a name and how a value is written.
    """
    named = {key: (OF_TEXTS.get(key, name), show) for key, (name, show) in others.items()}
    return {"accuracy": ("accuracy", numbers.percent), "macro_f1": ("macro F1", numbers.percent)} | named


def sections(run: DistillRun, name: str = "The classifier") -> list[str]:
    """The same table in markdown; nothing for a language model.

    Args:
        run: The training.
        name: Of the classifier, for the heading.
    """
    found = run.classification
    if found is None:
        return []
    columns = dict(zip(HEADINGS, map(list, zip(*_rows(found), strict=True)), strict=True))
    columns[HEADINGS[0]] = [escape.text(name) for name in columns[HEADINGS[0]]]
    notes = "\n".join(f"- {escape.text(note)}" for note in _notes(found))
    heading = f"## {name} on {found.student.num_texts:,} texts: {escape.text(found.measured_on)}"
    return [f"{heading}\n\n{plain_table(columns, numeric=frozenset(HEADINGS[1:]))}\n\n{notes}"]


def _rows(found: Classification) -> list[list[str]]:
    """Cells of the teachers and of the student."""
    names = [f"teacher {teacher.model.rstrip('/').rpartition('/')[2]}" for teacher in found.teachers]
    models = zip([*names, "student"], [*found.teachers, found.student], strict=True)
    return [[name, *_cells(figures)] for name, figures in models]


def _cells(figures: ClassifierFigures) -> list[str]:
    low, high = 100 * figures.accuracy_ci_low, 100 * figures.accuracy_ci_high
    return [
        f"{figures.num_parameters / 1e6:.1f}M",
        f"{figures.size_bytes / 1e6:.1f}",
        f"{100 * figures.accuracy:.1f}",
        f"{low:.1f}-{high:.1f}",
        f"{100 * figures.macro_f1:.1f}",
        _UNKNOWN if figures.latency_p50_ms is None else f"{figures.latency_p50_ms:.1f}",
        _UNKNOWN if figures.latency_p95_ms is None else f"{figures.latency_p95_ms:.1f}",
        _memory(figures),
    ]


def _memory(figures: ClassifierFigures) -> str:
    if figures.resident_bytes is None or figures.resident_before_bytes is None:
        return _UNKNOWN
    own = figures.resident_bytes - figures.resident_before_bytes
    return f"{figures.resident_bytes / 1e6:.0f} ({own / 1e6:.0f})"


def _notes(found: Classification) -> list[str]:
    """What must be known to read the table."""
    lines = ["95 %: Wilson's interval of the accuracy."]
    for teacher in found.teachers:
        test = teacher.paired
        if test is not None:
            lines.append(
                f"Right where the other is wrong: teacher {test.num_only_teacher}, student {test.num_only_student} "
                f"of {test.num_pairs:,} texts (exact McNemar, p = {test.p_value:.2g})."
            )
    student = found.student
    if student.unmeasured is None:
        threads = f"{student.num_threads} thread{'' if student.num_threads == 1 else 's'}"
        lines.append(
            f"Latency: one text at a time from text to label, tokenization included, {student.num_requests} requests "
            f"after a warm-up, on {found.device} with {threads}. Memory: a fresh process with its libraries; in "
            "brackets, what model and requests added."
        )
    reasons = {figures.unmeasured for figures in (*found.teachers, student) if figures.unmeasured is not None}
    lines += [f"Latency and memory not measured: {reason}." for reason in sorted(reasons)]
    if found.is_validation:
        lines.append("These are the validation texts, looked at while it trained; unseen ones: --test-split.")
    return lines
