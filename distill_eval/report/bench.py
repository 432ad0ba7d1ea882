"""How fast models are under load: the text of `bench.md`, and the table in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from distill_eval.report import escape, numbers
from distill_eval.report.sections import how_to_repeat, plain_table
from distill_eval.schema.bench import BenchedModel, BenchRun, Latency, LoadResult, Ratio, Sweep

if TYPE_CHECKING:
    from rich.console import Console

TEXT = "bench.md"
SLOWER = "slower"
BASELINE = "1 (baseline)"
MEASURES: tuple[tuple[str, Callable[[LoadResult], Latency | None]], ...] = (
    ("TTFT", lambda one: one.metrics.ttft_ms),
    ("TPOT", lambda one: one.metrics.tpot_ms),
    ("ITL", lambda one: one.metrics.itl_ms),
    ("E2EL", lambda one: one.metrics.e2el_ms),
    ("TTFT from the schedule", lambda one: one.metrics.scheduled_ttft_ms),
    ("E2EL from the schedule", lambda one: one.metrics.scheduled_e2el_ms),
)


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


# ---- the page


def render(run: BenchRun) -> str:
    """The text, ending in a newline; the same record gives the same bytes."""
    sections = [
        "# How fast",
        *([] if run.complete else ["**The benchmark ended early:** what follows is what was measured until then."]),
        _measured(run),
        *([_sentences(run)] if len(run.models) > 1 else []),
        *([_table(run)] if run.loads else []),
        *([_batches(run)] if any(model.classifier_results for model in run.models) else []),
        *([_sweep(run)] if any(model.sweep for model in run.models) else []),
        *([_latencies(run), _counts(run)] if run.loads else []),
        _engines(run),
        *([_noise(run)] if run.noise else []),
        _findings(run),
        *([DEFINITIONS] if run.loads else []),
        how_to_repeat([run.provenance]),
    ]
    return "\n\n".join(sections) + "\n"


def _measured(run: BenchRun) -> str:
    prompts = run.prompts
    sent = f"{escape.text(prompts.kind)} prompts of {_range(*prompts.num_prompt_tokens)} tokens"
    if run.loads:
        sent += f", answers of {'' if prompts.ignore_eos else 'up to '}{_range(*prompts.max_tokens)}"
    return (
        f"{numbers.plural(run.num_repeats, 'repeat')}, models in turn; {sent}. "
        f"The first model, {escape.name(run.models[0].name)}, is the baseline: a speedup is the geometric mean of the "
        "repeats' ratios to it, with a 95 % interval over repeats."
    )


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _sentences(run: BenchRun) -> str:
    return "\n".join(f"- {sentence(model)}" for model in run.models[1:])


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
            cells += [_rate(one.metrics.output_throughput, 1), _rate(one.metrics.request_throughput, 2)]
            cells += [_pair(one.metrics.ttft_ms), _pair(one.metrics.tpot_ms)]
            cells += [_rate(one.metrics.goodput, 2)] if run.goodput else []
            found.append([*cells, BASELINE if model is run.models[0] else marked(decisive(one), bold=bold)])
    return found


def marked(found: Ratio | None, *, bold: bool) -> str:
    """A speedup; what is slower is said, in bold where that can be."""
    text = speedup(found)
    if found is None or not found.is_slower:
        return text
    return f"**{text} {SLOWER}**" if bold else f"{text} {SLOWER}"


def _rate(value: float | None, decimals: int) -> str:
    return numbers.UNDEFINED if value is None else numbers.fixed(value, decimals)


def _pair(latency: Latency | None) -> str:
    if latency is None:
        return numbers.UNDEFINED
    return f"{numbers.fixed(latency.p50, 1)} / {numbers.fixed(latency.p99, 1)}"


def _columns(names: Sequence[str], content: Sequence[Sequence[str]], text_columns: int) -> str:
    table = {name: [row[place] for row in content] for place, name in enumerate(names)}
    return plain_table(table, numeric=frozenset(names[text_columns:]))


def _table(run: BenchRun) -> str:
    reasons = {
        f"- {escape.name(model.name)} at {escape.text(one.load.label)} has no speedup: {escape.text(one.unmeasured)}."
        for model in run.models[1:]
        for one in model.results
        if decisive(one) is None and one.unmeasured
    }
    return "\n\n".join([_columns(headings(run), rows(run, escape.text, bold=True), 3), *sorted(reasons)])


BATCH_HEADINGS = ("model", "engine", "batch size", "texts/s", "p50 / p99 of a batch, ms", "tokenization", "speedup")


def batch_rows(run: BenchRun, show: Callable[[str], str], *, bold: bool) -> list[list[str]]:
    """The table of models that read whole texts: a row per model and batch size."""
    found = []
    for model in run.models:
        for one in model.classifier_results:
            cells = [show(model.name), model.engine, str(one.batch_size), numbers.fixed(one.texts_per_second, 1)]
            cells += [_pair(one.batch_ms), numbers.percent(one.tokenize_share)]
            found.append([*cells, BASELINE if model is run.models[0] else marked(one.speedup, bold=bold)])
    return found


def _batches(run: BenchRun) -> str:
    what = {
        escape.name(model.name): model.classifier_results[0].what for model in run.models if model.classifier_results
    }
    said = "; ".join(f"{name}: {escape.text(text)}" for name, text in what.items())
    noise = [
        f"{speedup(one.noise)} at batch size {one.batch_size}"
        for one in run.models[0].classifier_results
        if one.noise is not None
    ]
    floor = f"The baseline against itself: {', '.join(noise)}." if noise else ""
    table = _columns(BATCH_HEADINGS, batch_rows(run, escape.text, bold=True), 2)
    return "\n\n".join([table, f"What was run: {said}. {floor}".strip()])


def swept(sweep: Sweep) -> str:
    """The highest rate in words."""
    if sweep.highest_rate is None:
        return "no rate keeps the limits"
    least = "at least " if sweep.lowest_failed is None else ""
    return f"{least}{numbers.fixed(sweep.highest_rate, 2)} req/s keep the limits"


def _sweep(run: BenchRun) -> str:
    limits = ", ".join(f"{name} at most {value:g} ms" for name, value in run.goodput.items())
    content = []
    for model in run.models:
        if model.sweep is None:
            continue
        failed = model.sweep.lowest_failed
        content.append(
            [
                escape.text(model.name),
                swept(model.sweep),
                _rate(failed, 2),
                ", ".join(f"{one.request_rate:.2f}: {numbers.percent(one.good_share)}" for one in model.sweep.tried),
            ]
        )
    share = next(model.sweep.wanted_share for model in run.models if model.sweep is not None)
    head = f"## Highest rate at which {numbers.round_percent(share)} of the requests keep {limits}"
    names = ["model", "highest rate", "lowest req/s that does not", "share by rate"]
    table = {name: [row[place] for row in content] for place, name in enumerate(names)}
    return head + "\n\n" + plain_table(table, numeric=frozenset(names[2:3]))


def _latencies(run: BenchRun) -> str:
    content = [
        [escape.text(model.name), escape.text(one.load.label), name, numbers.count(found.num)]
        + [numbers.fixed(value, 2) for value in (found.mean, found.p50, found.p90, found.p95, found.p99)]
        for model in run.models
        for one in model.results
        for name, take in MEASURES
        if (found := take(one)) is not None
    ]
    names = ["model", "load", "ms", "n", "mean", "p50", "p90", "p95", "p99"]
    return "## Latencies\n\n" + _columns(names, content, 3)


def _counts(run: BenchRun) -> str:
    names = ["model", "load", "completed", "errored", "cancelled", "late", "retried", "prompt tokens"]
    names += ["output tokens", "peak concurrency", "total tok/s", "seconds"]
    content = [
        [escape.text(model.name), escape.text(one.load.label)]
        + [numbers.count(num) for num in (found.num_completed, found.num_errored, found.num_cancelled)]
        + [numbers.UNDEFINED if found.num_late is None else numbers.count(found.num_late)]
        + [numbers.count(num) for num in (found.num_retried, found.num_prompt_tokens, found.num_output_tokens)]
        + [numbers.count(found.peak_concurrency), _rate(found.total_throughput, 1), numbers.fixed(found.duration_s, 1)]
        for model in run.models
        for one in model.results
        for found in (one.metrics,)
    ]
    return "## Requests\n\n" + _columns(names, content, 2)


def _engines(run: BenchRun) -> str:
    names = ["model", "engine", "device", "dtype", "quantization", "prefix cache", "weights", "memory at rest"]
    names += ["peak memory", "KV cache, tokens", "start, s", "energy, J"]
    content = []
    for model in run.models:
        memory = model.memory
        caching = {None: numbers.UNDEFINED, True: "on", False: "off"}[model.prefix_caching]
        content.append(
            [
                escape.text(model.name),
                escape.text(f"{model.engine} {model.engine_version or ''}"),
                escape.text(model.device),
                escape.text(model.dtype or numbers.UNDEFINED),
                escape.text(model.quantization or numbers.UNDEFINED),
                caching,
                *(_size(value) for value in (memory.weights_bytes, memory.rest_bytes, memory.peak_bytes)),
                numbers.UNDEFINED if memory.kv_cache_tokens is None else numbers.count(memory.kv_cache_tokens),
                _rate(model.start_s, 1),
                _rate(model.energy_j, 0),
            ]
        )
    reasons = sorted({model.energy_reason for model in run.models if model.energy_reason})
    notes = [f"- No energy: {escape.text(reason)}." for reason in reasons]
    return "\n\n".join(["## What ran them\n\n" + _columns(names, content, 6), *notes])


def _size(num_bytes: int | None) -> str:
    return numbers.UNDEFINED if num_bytes is None else numbers.size(num_bytes)


def _noise(run: BenchRun) -> str:
    lines = [f"- {escape.text(one.load.label)}: {speedup(one.ratio)}" for one in run.noise]
    return (
        "## Noise floor\n\nThe baseline against itself, measured a second time at the end of each repeat: ratios as "
        "far from 1 as these say nothing.\n\n" + "\n".join(lines)
    )


def _findings(run: BenchRun) -> str:
    lines = [f"{number}. {escape.text(one)}" for number, one in enumerate(run.findings, start=1)]
    return "## Findings\n\n" + ("\n".join(lines) or "None.")


DEFINITIONS = (
    "TTFT: from the send of a request to its first token. ITL: between chunks. TPOT: (E2EL - TTFT) / (output tokens - "
    "1). E2EL: to the last token. As in `vllm bench serve`; percentiles over the completed requests of all repeats."
)


# ---- the terminal


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
