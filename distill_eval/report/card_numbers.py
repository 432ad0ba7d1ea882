"""What a model card counts: how much was kept of the teacher, and how large and fast the model is."""

from __future__ import annotations

from collections.abc import Callable

from distill_eval.report import escape, numbers
from distill_eval.report.bench_rows import marked
from distill_eval.report.numbers import RATIO, Scale
from distill_eval.report.rows import View, columns, value_cell
from distill_eval.report.sections import with_notes
from distill_eval.report.subject import Subject
from distill_eval.report.table import Cell, Column, grid
from distill_eval.report.verdict import asked
from distill_eval.schema.report import Speed, Variant
from distill_eval.schema.retention import Entry, Estimate, Retention

COLUMNS = ("task", "metric", "n", "chance", "teacher", "student", "difference", "retention", "verdict")
NATS = Scale(1, 4, "")
NOT_SAID = "was not measured"


def kept(subject: Subject) -> list[str]:
    """The section on retention and fidelity; nothing where neither was measured."""
    parts = [_summary(subject.variant)]
    comparisons: dict[int, tuple[Retention, list[Entry]]] = {}
    for retention, entry in subject.entries():
        comparisons.setdefault(id(retention), (retention, []))[1].append(entry)
    parts += [_tasks(run, entries, asked(run, subject.report)) for run, entries in comparisons.values()]
    parts = [part for part in parts if part]
    return ["\n\n".join(["## What it kept of its teacher", *parts])] if parts else []


def _summary(variant: Variant) -> str:
    """Figures over all tasks and over text, those that there are."""
    found = {
        "retention, mean over tasks": value_cell(variant.retention, RATIO),
        "retention, worst task": value_cell(variant.worst_retention, RATIO),
        "retention above chance, mean": value_cell(variant.retention_above_chance, RATIO),
        "gap recovered by distillation, mean": value_cell(variant.gap_recovered, RATIO),
        "KL(teacher, model), nats per token": _nats(variant.kl),
        "same most likely token": value_cell(variant.top1_agreement, RATIO),
    }
    there = {name: cell for name, cell in found.items() if not cell.missing}
    if not there:
        return ""
    names = tuple(Cell(name) for name in there)
    return with_notes(grid([Column("", names, numeric=False), Column("value, interval", tuple(there.values()))]))


def _nats(found: Estimate) -> Cell:
    """With its standard error where that is all there is of its uncertainty."""
    if found.value is None or found.stderr is None or found.ci_low is not None:
        return value_cell(found, NATS)
    return Cell(f"{NATS.show(found.value)} +- {NATS.show(found.stderr)}")


def _tasks(retention: Retention, entries: list[Entry], rule: str) -> str:
    view = View(show=escape.text, labels={})
    table = columns(entries, view, level=retention.criterion.level)
    level = numbers.round_percent(retention.criterion.level)
    how = (
        f"lm-eval {escape.text(retention.manifest.lm_eval_version)}, both models on the same documents. PASS: the "
        f"whole {level} interval shows {escape.text(rule)}; FAIL: none of it does; INCONCLUSIVE: some of it."
    )
    return with_notes(grid([table[key] for key in COLUMNS])) + "\n\n" + how


def speed(subject: Subject) -> list[str]:
    """The section on size and speed, beside the teacher."""
    models = [subject.teacher, subject.variant]
    parts = ["## Size and speed", _sizes(models)]
    if any(model.speeds for model in models):
        parts += [_speeds(models), *_measured(subject)]
    return ["\n\n".join(parts)]


def _sizes(models: list[Variant]) -> str:
    fields: dict[str, tuple[str, Callable[[float], str]]] = {
        "num_parameters": ("parameters", lambda value: numbers.count(int(value))),
        "size_bytes": ("weights", lambda value: numbers.size(int(value))),
        "size_ratio": ("of teacher", lambda value: f"{numbers.fixed(value, 2)}x"),
        "peak_bytes": ("most memory", lambda value: numbers.size(int(value))),
    }
    names = Column("model", tuple(Cell(escape.text(model.name)) for model in models), numeric=False)
    found = [
        Column(title, tuple(_cell(getattr(model, field), show, model.reasons.get(field)) for model in models))
        for field, (title, show) in fields.items()
    ]
    return with_notes(grid([names, *found]))


def _cell(value: float | None, show: Callable[[float], str], reason: str | None = None) -> Cell:
    return Cell(numbers.UNDEFINED, (reason or NOT_SAID,), missing=True) if value is None else Cell(show(value))


def _speeds(models: list[Variant]) -> str:
    rows = [(model, one) for model in models for one in model.speeds]
    texts = {
        "model": [Cell(escape.text(model.name)) for model, _ in rows],
        "load": [Cell(escape.text(one.load)) for _, one in rows],
        "TTFT p50 / p99, ms": [_pair(one.ttft_p50_ms, one.ttft_p99_ms) for _, one in rows],
        "TPOT p50 / p99, ms": [_pair(one.tpot_p50_ms, one.tpot_p99_ms) for _, one in rows],
        "per second": [_cell(one.output_throughput, lambda value: numbers.fixed(value, 1)) for _, one in rows],
        "speedup [95 %]": [_speedup(model, one) for model, one in rows],
    }
    return with_notes(
        grid([Column(name, tuple(cells), numeric=name not in ("model", "load")) for name, cells in texts.items()])
    )


def _pair(p50: float | None, p99: float | None) -> Cell:
    if p50 is None or p99 is None:
        return Cell(numbers.UNDEFINED, (NOT_SAID,), missing=True)
    return Cell(f"{numbers.fixed(p50, 1)} / {numbers.fixed(p99, 1)}")


def _speedup(model: Variant, one: Speed) -> Cell:
    if model.role == "teacher":
        return Cell("reference")
    if one.speedup is None:
        return Cell(numbers.UNDEFINED, (one.reason or NOT_SAID,), missing=True)
    return Cell(marked(one.speedup, bold=True))


def _measured(subject: Subject) -> list[str]:
    """On what the speeds were measured."""
    said = [
        f"{model.engine} {model.engine_version or ''}".strip()
        + f" on {bench.provenance.hardware}, {numbers.plural(bench.num_repeats, 'repeat')}, models in turn, "
        f"{bench.prompts.kind} prompts"
        for bench, model in subject.benched()
    ]
    return [f"Measured with {escape.text('; '.join(dict.fromkeys(said)))}."] if said else []
