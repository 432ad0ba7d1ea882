"""How fast models are under load: the text of `bench.md`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from distill_eval.report import escape, numbers
from distill_eval.report.bench_rows import (
    BATCH_HEADINGS,
    batch_rows,
    decisive,
    headings,
    rate,
    rows,
    sentence,
    speedup,
    swept,
)
from distill_eval.report.sections import how_to_repeat, plain_table
from distill_eval.schema.bench import BenchRun, Latency, LoadResult

if TYPE_CHECKING:
    pass

TEXT = "bench.md"
MEASURES: tuple[tuple[str, Callable[[LoadResult], Latency | None]], ...] = (
    ("TTFT", lambda one: one.metrics.ttft_ms),
    ("TPOT", lambda one: one.metrics.tpot_ms),
    ("ITL", lambda one: one.metrics.itl_ms),
    ("E2EL", lambda one: one.metrics.e2el_ms),
    ("TTFT from the schedule", lambda one: one.metrics.scheduled_ttft_ms),
    ("E2EL from the schedule", lambda one: one.metrics.scheduled_e2el_ms),
)


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
                rate(failed, 2),
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
        + [numbers.count(found.peak_concurrency), rate(found.total_throughput, 1), numbers.fixed(found.duration_s, 1)]
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
                rate(model.start_s, 1),
                rate(model.energy_j, 0),
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
