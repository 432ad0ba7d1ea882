"""How fast each model was, from the benchmarks that have it (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from distill_eval.errors import NotComparableError
from distill_eval.pipeline.mentioned import Named
from distill_eval.schema.bench import BenchedModel, BenchRun, LoadResult
from distill_eval.schema.report import SET_RATE, Speed

IS_TEACHER = "it is what others are measured by"


class Benched(NamedTuple):
    """A model in a benchmark."""

    where: str
    """The benchmark's artifact."""
    model: BenchedModel
    baseline: str
    """Short name of what its speedups are over."""


def benched(benches: Mapping[str, BenchRun], named: Named) -> dict[str, Benched]:
    """By a model's short name, its first benchmark.

    The teacher may be in several, being the baseline of each, and another model in one for each engine.

    Raises:
        NotComparableError: another model is in two on one engine, and they differ.
    """
    found: dict[str, Benched] = {}
    for where, run in benches.items():
        for model in run.models:
            name = named.names[model.ref]
            one = Benched(where, model, named.names[run.models[0].ref])
            before = found.setdefault(name, one)
            if before.model != model and before.model.engine == model.engine and name != named.teacher:
                raise NotComparableError(
                    f"{model.ref} was benchmarked twice on {model.engine}, in {before.where} and in {where}: name one "
                    f"of the two"
                )
    return found


def speeds(one: Benched, teacher: str, name: str) -> tuple[Speed, ...]:
    """The model under each load of its benchmark."""
    why = IS_TEACHER if name == teacher else None
    if why is None and one.baseline != teacher:
        why = f"its benchmark has {one.baseline} as baseline, not {teacher}: bench again with --model {teacher} first"
    return tuple(_speeds(one.model, why))


def _speeds(model: BenchedModel, why: str | None) -> Iterator[Speed]:
    for one in model.results:
        ttft, tpot, reason = one.metrics.ttft_ms, one.metrics.tpot_ms, why or _unmeasured(one)
        yield Speed(
            load=one.load.label,
            ttft_p50_ms=ttft.p50 if ttft else None,
            ttft_p99_ms=ttft.p99 if ttft else None,
            tpot_p50_ms=tpot.p50 if tpot else None,
            tpot_p99_ms=tpot.p99 if tpot else None,
            output_throughput=one.metrics.output_throughput,
            speedup=None if reason else one.output_throughput_speedup,
            reason=reason,
        )
    for batch in model.classifier_results:
        reason = why or (None if batch.speedup else "it has no repeat in common with the baseline")
        yield Speed(
            load=batch_label(batch.batch_size),
            ttft_p50_ms=None,
            ttft_p99_ms=None,
            tpot_p50_ms=None,
            tpot_p99_ms=None,
            output_throughput=batch.texts_per_second,
            speedup=None if reason else batch.speedup,
            reason=reason,
        )


def _unmeasured(one: LoadResult) -> str | None:
    if one.load.kind == "open":
        return SET_RATE
    return None if one.output_throughput_speedup else one.unmeasured or "it was not measured"


def batch_label(size: int) -> str:
    """A batch as a load."""
    return f"batch size {size}"


def table_load(benches: Mapping[str, BenchRun]) -> str | None:
    """The load whose figures stand in the table: the largest concurrency, else all at once, else the largest batch.

    `None` where nothing of the kind was measured: requests at a set rate tell no throughput.
    """
    loads = [load for run in benches.values() for load in run.loads]
    closed = [(load.concurrency or 0, load.ignore_eos, load.label) for load in loads if load.kind == "closed"]
    if closed:
        return max(closed)[2]
    offline = next((load.label for load in loads if load.kind == "offline"), None)
    batches = [one.batch_size for run in benches.values() for model in run.models for one in model.classifier_results]
    return offline or (batch_label(max(batches)) if batches else None)
