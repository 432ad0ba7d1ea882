"""The columns of the one table: a row for each variant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from distill_eval.report import bench_rows, numbers
from distill_eval.report.frontier import speed_at
from distill_eval.report.numbers import Scale
from distill_eval.report.rows import NO_REASON, value_cell
from distill_eval.report.sections import part
from distill_eval.report.table import Cell, Column
from distill_eval.schema.report import Report, Speed, Variant
from distill_eval.schema.retention import Estimate

NATS = Scale(1, 5, "")
LATENCY = "latency p50 / p95, ms"
"""Of one text, where a training timed classifiers."""
TEXT_COLUMNS = frozenset({"variant", "engine", "verdict"})


def columns(report: Report, show: Callable[[str], str], *, bold: bool = True) -> list[Column]:
    """Every column, also those without a value.

    Args:
        report: What was joined.
        show: Makes foreign text harmless for the medium.
        bold: Whether verdicts, and what is slower, are in bold as markdown writes it.
    """
    teacher, load = report.variants[0], report.load
    makers: dict[str, Callable[[Variant], Cell]] = {
        "variant": lambda row: Cell(show(row.name)),
        "engine": lambda row: _engine(row, show),
        "parameters": lambda row: _of_teacher(row, "num_parameters", numbers.count, teacher.num_parameters),
        "size": lambda row: _of_teacher(row, "size_bytes", numbers.size, teacher.size_bytes),
        "retention (mean)": lambda row: _mean(row, row.retention),
        "retention (worst task)": lambda row: _worst(row, show),
        "above chance": lambda row: _mean(row, row.retention_above_chance),
        "gap recovered": lambda row: _mean(row, row.gap_recovered),
        "mean KL, nats": lambda row: _estimate(row.kl, NATS),
        "top-1 agreement": lambda row: _estimate(row.top1_agreement),
        "TTFT p50 / p99, ms": lambda row: _pair(row, load, lambda one: (one.ttft_p50_ms, one.ttft_p99_ms)),
        "TPOT p50 / p99, ms": lambda row: _pair(row, load, lambda one: (one.tpot_p50_ms, one.tpot_p99_ms)),
        **({LATENCY: lambda row: _latency(row, load)} if _has_latency(report) else {}),
        "throughput": lambda row: _throughput(row, load),
        "speedup": lambda row: _speedup(row, load, bold=bold),
        "peak memory": lambda row: _plain(row, "peak_bytes", numbers.size),
        "verdict": lambda row: _verdict(row, bold=bold),
    }
    return [
        Column(key, tuple(make(row) for row in report.variants), numeric=key not in TEXT_COLUMNS)
        for key, make in makers.items()
    ]


def missing(report: Report, columns: Iterable[Column]) -> list[str]:
    """What no variant has, and why not the students, in place of columns of dashes."""
    lines = []
    for column in columns:
        if column.empty:
            cells = [cell for cell, row in zip(column.cells, report.variants, strict=True) if row.role == "student"]
            reasons = list(dict.fromkeys(note for cell in cells for note in cell.notes))
            lines.append(f"{column.header}: {'; '.join(reasons) or NO_REASON}")
    return lines


def _missing(row: Variant, field: str) -> Cell:
    return Cell(numbers.UNDEFINED, (row.reasons.get(field, NO_REASON),), missing=True)


def _verdict(row: Variant, *, bold: bool) -> Cell:
    """The verdict; the role of what is not judged."""
    if row.verdict is not None:
        return Cell(f"**{row.verdict}**" if bold else row.verdict)
    return _missing(row, "verdict") if row.role == "student" else Cell(row.role)


def _engine(row: Variant, show: Callable[[str], str]) -> Cell:
    """What scored it, and what it was timed on where that is another; how its weights are packed."""
    engines = list(dict.fromkeys(engine for engine in (row.engine, row.bench_engine) if engine is not None))
    if not engines:
        return _missing(row, "engine")
    named = " / ".join(show(engine) for engine in engines)
    return Cell(f"{named}, {show(row.quantization)}" if row.quantization else named)


def _plain(row: Variant, field: str, write: Callable[[int], str]) -> Cell:
    value = getattr(row, field)
    return _missing(row, field) if value is None else Cell(write(value))


def _of_teacher(row: Variant, field: str, write: Callable[[int], str], whole: int | None) -> Cell:
    value = getattr(row, field)
    if value is None:
        return _missing(row, field)
    return Cell(write(value) if row.role == "teacher" else part(write, value, whole or 0))


def _estimate(found: Estimate, scale: Scale = numbers.RATIO) -> Cell:
    """The value with its interval, or with its standard error where that is all there is."""
    if found.value is None:
        return Cell(numbers.UNDEFINED, (found.reason or NO_REASON,), missing=True)
    if found.ci_low is None and found.ci_high is None:
        error = "" if found.stderr is None else f" +/- {numbers.fixed(scale.factor * found.stderr, scale.decimals)}"
        return Cell(f"{scale.show(found.value)}{error}")
    return value_cell(found, scale)


def _mean(row: Variant, found: Estimate) -> Cell:
    """The mean, with a note where it is not over all tasks."""
    cell = _estimate(found)
    noted = row.role != "teacher" and found.value is not None and found.reason is not None
    return replace(cell, notes=(found.reason or NO_REASON,)) if noted else cell


def _worst(row: Variant, show: Callable[[str], str]) -> Cell:
    if row.worst_task is None:
        return _missing(row, "worst_task")
    cell = _estimate(row.worst_retention)
    return Cell(f"{show(row.worst_task)} {cell.text}", cell.notes)


def _at(row: Variant, load: str | None) -> Speed | Cell:
    """The row under the table's load, or a dash with the reason."""
    speed = speed_at(row, load)
    if speed is not None:
        return speed
    if row.speeds:
        return Cell(numbers.UNDEFINED, (f"it was not measured at {load}",), missing=True)
    return _missing(row, "speeds")


def _pair(row: Variant, load: str | None, take: Callable[[Speed], tuple[float | None, float | None]]) -> Cell:
    speed = _at(row, load)
    if isinstance(speed, Cell):
        return speed
    p50, p99 = take(speed)
    if p50 is None or p99 is None:
        return Cell(numbers.UNDEFINED, ("no request of that load tells it",), missing=True)
    return Cell(f"{numbers.fixed(p50, 1)} / {numbers.fixed(p99, 1)}")


def _has_latency(report: Report) -> bool:
    return any(speed.latency_p50_ms is not None for row in report.variants for speed in row.speeds)


def _latency(row: Variant, load: str | None) -> Cell:
    speed = _at(row, load)
    if isinstance(speed, Cell):
        return speed
    if speed.latency_p50_ms is None or speed.latency_p95_ms is None:
        return Cell(numbers.UNDEFINED, ("single texts were not timed",), missing=True)
    return Cell(f"{numbers.fixed(speed.latency_p50_ms, 1)} / {numbers.fixed(speed.latency_p95_ms, 1)}")


def _throughput(row: Variant, load: str | None) -> Cell:
    speed = _at(row, load)
    if isinstance(speed, Cell):
        return speed
    if speed.latency_p50_ms is not None:
        return Cell(numbers.UNDEFINED, ("a training times single texts",), missing=True)
    if speed.output_throughput is None:
        return Cell(numbers.UNDEFINED, ("no request of that load was completed",), missing=True)
    unit = "texts/s" if load is not None and load.startswith("batch") else "tok/s"
    return Cell(f"{numbers.fixed(speed.output_throughput, 1)} {unit}")


def _speedup(row: Variant, load: str | None, *, bold: bool) -> Cell:
    speed = _at(row, load)
    if isinstance(speed, Cell):
        return speed
    if row.role == "teacher":
        return Cell(bench_rows.BASELINE)
    if speed.speedup is None:
        return Cell(numbers.UNDEFINED, (speed.reason or NO_REASON,), missing=True)
    return Cell(bench_rows.marked(speed.speedup, bold=bold))
