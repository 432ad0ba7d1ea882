"""What a training came to, for the terminal; a classifier with what it does and costs beside its teachers."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from distill_eval.schema.distill import Classification, ClassifierFigures, DistillRun

_UNKNOWN = "-"


def print_training(run: DistillRun, console: Console) -> None:
    """The validation before and after, the findings, and a classifier's table."""
    before, after = run.before, run.after
    near = f", KL to the teacher {before.kl:.3f} -> {after.kl:.3f} nats" if after.kl is not None else ""
    lines = [f"Validation perplexity {before.perplexity:.2f} -> {after.perplexity:.2f}{near}"]
    if run.classification is not None:
        _print_classification(run.classification, console)
        lines = [f"Validation accuracy {before.accuracy:.4f} -> {after.accuracy:.4f}{near}"]
    for line in [*lines, *(f"{finding.weight}: {finding.text}" for finding in run.findings)]:
        _print(line, console)


def _print(line: str, console: Console) -> None:
    """As it is, however wide the terminal."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _print_classification(found: Classification, console: Console) -> None:
    """One row per model, and below the table what its figures are of."""
    table = Table(title=f"{found.measured_on}: {found.student.num_texts:,} texts", title_justify="left")
    table.add_column("model", overflow="fold")
    for heading in ("param.", "file MB", "acc. %", "95 %", "macro F1 %", "p50 ms", "p95 ms", "resident MB"):
        table.add_column(heading, justify="right", overflow="fold")
    for role, figures in [*(("teacher", teacher) for teacher in found.teachers), ("student", found.student)]:
        table.add_row(*_cells(role, figures))
    console.print(table)
    for line in _lines(found):
        _print(line, console)


def _cells(role: str, figures: ClassifierFigures) -> list[str]:
    low, high = 100 * figures.accuracy_ci_low, 100 * figures.accuracy_ci_high
    return [
        role if role == "student" else f"{role} {figures.model.rstrip('/').rpartition('/')[2]}",
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


def _lines(found: Classification) -> list[str]:
    """What must be known to read the table."""
    lines = ["Accuracy with Wilson's 95 % interval."]
    for teacher in found.teachers:
        test = teacher.paired
        if test is not None:
            lines.append(
                f"Right where the other is wrong: teacher {test.num_only_teacher}, student {test.num_only_student} "
                f"of {test.num_pairs:,} texts (exact McNemar, p = {test.p_value:.2g})"
            )
    student = found.student
    if student.unmeasured is None:
        threads = f"{student.num_threads} thread{'' if student.num_threads == 1 else 's'}"
        lines.append(
            f"Latency: one text at a time from text to label, tokenization included, {student.num_requests} requests "
            f"after a warm-up, on {found.device} with {threads}. Memory: a fresh process with its libraries (in "
            "brackets: what model and requests added)"
        )
    reasons = {figures.unmeasured for figures in (*found.teachers, student) if figures.unmeasured is not None}
    lines += [f"Not measured: {reason}" for reason in sorted(reasons)]
    if found.is_validation:
        lines.append("These are the validation texts, which were looked at while it trained. Unseen: --test-split")
    return lines
