"""Rows and words of a benchmark, for its page and for the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from distill_eval.report import escape, numbers
from distill_eval.schema.bench import BenchedModel, BenchRun, Latency, LoadResult, Ratio, Sweep

if TYPE_CHECKING:
    from rich.console import Console

SLOWER = "slower"


BASELINE = "1 (baseline)"


def speedup(found: Ratio | None) -> str:
    """E.g. `1.90x [1.70, 2.10]`; `-` where there is none."""
    if found is None:
        return numbers.UNDEFINED
    if found.ci_low is None or found.ci_high is None:
        return f"{numbers.fixed(found.value, 2)}x"
    interval = f"[{numbers.fixed(found.ci_low, 2)}, {numbers.fixed(found.ci_high, 2)}]"
    return f"{numbers.fixed(found.value, 2)}x {interval}"


def decisive(one: LoadResult) -> Ratio | None:
    """The speedup that a load tells: throughput where the load follows the server, else the time per token."""
    return one.tpot_speedup if one.load.kind == "open" else one.output_throughput_speedup


def sentence(model: BenchedModel) -> str:
    """A model's speedups in words; what is slower in bold."""
    speedups = [(decisive(one), one.load.label) for one in model.results]
    speedups += [(one.speedup, f"batch size {one.batch_size}") for one in model.classifier_results]
    parts = []
    for found, where in speedups:
        if found is not None:
            text = f"{speedup(found)} at {escape.text(where)}"
            parts.append(f"**{text}: {SLOWER}**" if found.is_slower else text)
    said = "; ".join(parts) or "no speedup was measured"
    return f"{escape.name(model.name)}: {said}."


HEADINGS = ("model", "engine", "load", "output tok/s", "req/s", "TTFT p50 / p99, ms", "TPOT p50 / p99, ms")


def headings(run: BenchRun) -> list[str]:
    """Of the main table."""
    return [*HEADINGS, *(["goodput req/s"] if run.goodput else []), "speedup"]


def rows(run: BenchRun, show: Callable[[str], str], *, bold: bool) -> list[list[str]]:
    """The main table: a row per model and load."""
    found = []
    for model in run.models:
        for one in model.results:
            cells = [show(model.name), model.engine, show(one.load.label)]
            cells += [rate(one.metrics.output_throughput, 1), rate(one.metrics.request_throughput, 2)]
            cells += [p50_p99(one.metrics.ttft_ms), p50_p99(one.metrics.tpot_ms)]
            cells += [rate(one.metrics.goodput, 2)] if run.goodput else []
            found.append([*cells, BASELINE if model is run.models[0] else marked(decisive(one), bold=bold)])
    return found


def marked(found: Ratio | None, *, bold: bool) -> str:
    """A speedup; what is slower is said, in bold where that can be."""
    text = speedup(found)
    if found is None or not found.is_slower:
        return text
    return f"**{text} {SLOWER}**" if bold else f"{text} {SLOWER}"


def rate(value: float | None, decimals: int) -> str:
    """A number, or a dash."""
    return numbers.UNDEFINED if value is None else numbers.fixed(value, decimals)


def p50_p99(latency: Latency | None) -> str:
    """E.g. `20.0 / 81.5`, or a dash."""
    if latency is None:
        return numbers.UNDEFINED
    return f"{numbers.fixed(latency.p50, 1)} / {numbers.fixed(latency.p99, 1)}"


BATCH_HEADINGS = ("model", "engine", "batch size", "texts/s", "p50 / p99 of a batch, ms", "tokenization", "speedup")


def batch_rows(run: BenchRun, show: Callable[[str], str], *, bold: bool) -> list[list[str]]:
    """The table of models that read whole texts: a row per model and batch size."""
    found = []
    for model in run.models:
        for one in model.classifier_results:
            cells = [show(model.name), model.engine, str(one.batch_size), numbers.fixed(one.texts_per_second, 1)]
            cells += [p50_p99(one.batch_ms), numbers.percent(one.tokenize_share)]
            found.append([*cells, BASELINE if model is run.models[0] else marked(one.speedup, bold=bold)])
    return found


def swept(sweep: Sweep) -> str:
    """The highest rate in words."""
    if sweep.highest_rate is None:
        return "no rate keeps the limits"
    least = "at least " if sweep.lowest_failed is None else ""
    return f"{least}{numbers.fixed(sweep.highest_rate, 2)} req/s keep the limits"


def print_bench(run: BenchRun, console: Console) -> None:
    """The main table, and what a reader has to know."""
    from rich.table import Table

    names, content = headings(run), rows(run, escape.clean, bold=False)
    if any(model.classifier_results for model in run.models):
        names, content = list(BATCH_HEADINGS), batch_rows(run, escape.clean, bold=False)
    table = Table(title="Throughput and latency")
    for place, name in enumerate(names):
        table.add_column(name, justify="left" if place < 2 else "right", overflow="fold")
    for row in content:
        table.add_row(*row, style="bold" if SLOWER in row[-1] else None)
    if content:
        console.print(table, markup=False)
    for model in run.models:
        if model.sweep is not None:
            console.print(f"{escape.clean(model.name)}: {swept(model.sweep)}", markup=False)
    for finding in run.findings:
        console.print(f"- {escape.clean(finding)}", markup=False)
