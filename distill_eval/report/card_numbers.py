"""What a model card counts: how much was kept of the teacher, and how large and fast the model is."""

from __future__ import annotations

from collections.abc import Callable

from distill_eval.report import escape, numbers
from distill_eval.report.numbers import RATIO, Scale
from distill_eval.report.rows import View, columns, value_cell
from distill_eval.report.sections import with_notes
from distill_eval.report.subject import Subject
from distill_eval.report.table import Cell, Column, grid
from distill_eval.report.verdict import criterion
from distill_eval.schema.report import Speed, Variant
from distill_eval.schema.retention import Entry, Retention

COLUMNS = ("task", "metric", "n", "chance", "teacher", "student", "difference", "retention", "verdict")
NATS = Scale(1, 4, "")
NOT_SAID = "was not measured"


def kept(subject: Subject) -> list[str]:
    """The section on retention and fidelity; nothing where neither was measured."""
    parts = [_summary(subject.variant)]
    comparisons: dict[int, tuple[Retention, list[Entry]]] = {}
    for retention, entry in subject.entries():
        comparisons.setdefault(id(retention), (retention, []))[1].append(entry)
    parts += [_tasks(retention, entries) for retention, entries in comparisons.values()]
    parts = [part for part in parts if part]
    return ["\n\n".join(["## What it kept of its teacher", *parts])] if parts else []


def _summary(variant: Variant) -> str:
    """Figures over all tasks and over text, those that there are."""
    found = {
        "retention, mean over tasks": value_cell(variant.retention, RATIO),
        "retention, worst task": value_cell(variant.worst_retention, RATIO),
        "retention above chance, mean": value_cell(variant.retention_above_chance, RATIO),
        "gap recovered by distillation, mean": value_cell(variant.gap_recovered, RATIO),
        "KL(teacher, model), nats per token": value_cell(variant.kl, NATS),
        "same most likely token": value_cell(variant.top1_agreement, RATIO),
    }
    there = {name: cell for name, cell in found.items() if not cell.missing}
    if not there:
        return ""
    names = tuple(Cell(name) for name in there)
    return with_notes(grid([Column("", names, numeric=False), Column("value, interval", tuple(there.values()))]))


def _tasks(retention: Retention, entries: list[Entry]) -> str:
    view = View(show=escape.text, labels={})
    table = columns(entries, view, level=retention.criterion.level)
    level = numbers.round_percent(retention.criterion.level)
    rule = (
        f"lm-eval {escape.text(retention.manifest.lm_eval_version)}, both models on the same documents. PASS: the whole "
        f"{level} interval shows {criterion(retention)}; FAIL: none of it does; INCONCLUSIVE: some of it."
    )
    return with_notes(grid([table[key] for key in COLUMNS])) + "\n\n" + rule


def speed(subject: Subject) -> list[str]:
    """The section on size and speed, beside the teacher."""
    models = [subject.teacher, subject.variant]
    parts = ["## Size and speed", _sizes(models)]
    if any(model.speeds for model in models):
        parts += [_speeds(models), *_measured(subject)]
    return ["\n\n".join(parts)]


def _sizes(models: list[Variant]) -> str:
    def column(name: str, take: Callable[[Variant], float | None], show: Callable[[float], str]) -> Column:
        return Column(name, tuple(_cell(take(model), show, model.reasons.get(name, NOT_SAID)) for model in models))

    return with_notes(
        grid(
            [
                _names(models),
                column("parameters", lambda model: model.num_parameters, lambda value: numbers.count(int(value))),
                column("weights", lambda model: model.size_bytes, lambda value: numbers.size(int(value))),
                column("of teacher", _share, lambda value: f"{numbers.fixed(value, 2)}x"),
                column("most memory", lambda model: model.peak_bytes, lambda value: numbers.size(int(value))),
            ]
        )
    )


def _share(model: Variant) -> float | None:
    return 1.0 if model.role == "teacher" and model.size_bytes is not None else model.size_ratio


def _names(models: list[Variant]) -> Column:
    return Column("model", tuple(Cell(escape.text(model.name)) for model in models), numeric=False)


def _cell(value: float | None, show: Callable[[float], str], reason: str) -> Cell:
    return Cell(numbers.UNDEFINED, (reason,), missing=True) if value is None else Cell(show(value))


def _speeds(models: list[Variant]) -> str:
    rows = [(model, one) for model in models for one in model.speeds]
    texts = {
        "model": [Cell(escape.text(model.name)) for model, _ in rows],
        "load": [Cell(escape.text(one.load)) for _, one in rows],
        "TTFT p50 / p99, ms": [_pair(one.ttft_p50_ms, one.ttft_p99_ms) for _, one in rows],
        "TPOT p50 / p99, ms": [_pair(one.tpot_p50_ms, one.tpot_p99_ms) for _, one in rows],
        "per second": [_cell(one.output_throughput, lambda value: numbers.fixed(value, 1), NOT_SAID) for _, one in rows],
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
    return Cell(escape.text(_ratio(one)))


def _ratio(one: Speed) -> str:
    from distill_eval.report.bench_rows import speedup

    return speedup(one.speedup)


def _measured(subject: Subject) -> list[str]:
    """On what the speeds were measured."""
    said = [
        f"{model.engine} {model.engine_version or ''}".strip()
        + f" on {bench.provenance.hardware}, {numbers.plural(bench.num_repeats, 'repeat')}, models in turn, "
        f"{bench.prompts.kind} prompts"
        for bench, model in subject.benched()
    ]
    return [f"Measured with {escape.text('; '.join(dict.fromkeys(said)))}."] if said else []
