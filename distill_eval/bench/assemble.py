"""From what was measured to the record of a benchmark; the same timings give the same record again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from distill_eval.bench.entries import Entry
from distill_eval.bench.pool import Facts
from distill_eval.bench.session import NOT_MEASURED, Energy
from distill_eval.bench.summary import Raw, Summary, findings
from distill_eval.schema.bench import BenchedModel, BenchRun, Memory, Sweep


def benched(
    entry: Entry,
    facts: Facts,
    peak_bytes: int | None,
    *,
    sweep: Sweep | None = None,
    energy: Energy = NOT_MEASURED,
) -> BenchedModel:
    """What is known of a model besides its timings."""
    return BenchedModel(
        name=entry.name,
        ref=entry.ref,
        engine=facts.engine,
        engine_version=facts.engine_version,
        device=facts.device,
        dtype=facts.dtype,
        quantization=entry.quantization,
        max_model_len=facts.max_model_len,
        prefix_caching=facts.prefix_caching if entry.prefix_caching is None else entry.prefix_caching,
        start_s=facts.start_s,
        memory=Memory(
            weights_bytes=facts.weights_bytes,
            rest_bytes=facts.rest_bytes,
            peak_bytes=peak_bytes,
            kv_cache_tokens=facts.kv_cache_tokens,
        ),
        energy_j=energy.joules,
        energy_reason=energy.reason,
        results=(),
        sweep=sweep,
    )


def assemble(frame: BenchRun, raw: Raw, notes: Sequence[str] = ()) -> BenchRun:
    """The frame with results, noise floor and findings computed from the timings.

    Args:
        frame: Of the run; results that it has are replaced.
        raw: What was measured.
        notes: Findings that timings do not show; those of the frame are replaced too.
    """
    summary, baseline = Summary(raw, frame.goodput), frame.models[0].name
    results = {model.name: summary.results(model.name, baseline, frame.loads) for model in frame.models}
    measured: Mapping[str, Sequence[object]] = results
    models = tuple(replace(model, results=results[model.name]) for model in frame.models if measured[model.name])
    return replace(
        frame,
        models=models or frame.models,
        noise=summary.noise(baseline, frame.loads),
        findings=(*notes, *_of_caches(frame.models), *findings(raw, results, len(frame.loads))),
    )


def _of_caches(models: Sequence[BenchedModel]) -> list[str]:
    """Of servers that we did not start: whether answers from a cache may be among the figures."""
    sooner = "prompts that share a beginning, or come again, have their first token sooner than in other comparisons"
    said = {
        True: f"has a prefix cache: {sooner}",
        None: f"does not say whether it has a prefix cache; with one, {sooner}",
    }
    return [
        f"the server of {model.name} {said[model.prefix_caching]}"
        for model in models
        if model.engine == "endpoint" and model.prefix_caching is not False
    ]
