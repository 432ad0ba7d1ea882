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
    apart: str | None = None
    """Why its figures cannot stand beside those of the table's benchmark; `None` where they can."""


def benched(benches: Mapping[str, BenchRun], named: Named) -> dict[str, Benched]:
    """By a model's short name, its first benchmark, the table's before all others.

    The teacher may be in several, being the baseline of each, and another model in one for each engine.

    Raises:
        NotComparableError: another model is in two on one engine, and they differ.
    """
    found: dict[str, Benched] = {}
    unlike = apart(benches, named)
    first = standard(benches, named)
    for where in sorted(benches, key=lambda where: (where in unlike, where != first)):
        run = benches[where]
        for model in run.models:
            name = named.names[model.ref]
            one = Benched(where, model, named.names[run.models[0].ref], unlike.get(where))
            before = found.setdefault(name, one)
            if before.model != model and before.model.engine == model.engine and name != named.teacher:
                raise NotComparableError(
                    f"{model.ref} was benchmarked twice on {model.engine}, in {before.where} and in {where}: name one "
                    f"of the two"
                )
    return found


def standard(benches: Mapping[str, BenchRun], named: Named) -> str | None:
    """The benchmark that the table is of: the first that has the teacher under the table's load."""
    load = table_load(benches)
    having = [where for where, run in benches.items() if load in _labels(run)]
    return next((where for where in having if _teacher(benches[where], named) is not None), next(iter(having), None))


def apart(benches: Mapping[str, BenchRun], named: Named) -> dict[str, str]:
    """What other benchmarks of the table's load have otherwise than the table's own, so that no column holds both."""
    first, load = standard(benches, named), table_load(benches)
    found = {}
    for where, run in benches.items():
        differs = [] if first is None or load not in _labels(run) else list(_otherwise(run, benches[first], named))
        if differs:
            found[where] = f"{where} has {', '.join(differs)} than {first}, which the table is of"
    return found


def _otherwise(run: BenchRun, first: BenchRun, named: Named) -> Iterator[str]:
    if run.prompts.digest != first.prompts.digest:
        yield "other prompts"
    if run.provenance.hardware != first.provenance.hardware:
        yield f"other hardware ({run.provenance.hardware}, not {first.provenance.hardware})"
    its, known = _teacher(run, named), _teacher(first, named)
    if its is not None and known is not None and its.engine != known.engine:
        yield f"another engine for the teacher ({its.engine}, not {known.engine})"


def _teacher(run: BenchRun, named: Named) -> BenchedModel | None:
    return next((model for model in run.models if named.names[model.ref] == named.teacher), None)


def _labels(run: BenchRun) -> set[str]:
    """Its loads, batches too."""
    batches = {batch_label(one.batch_size) for model in run.models for one in model.classifier_results}
    return batches | {load.label for load in run.loads}


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
