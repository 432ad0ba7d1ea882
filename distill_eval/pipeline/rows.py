"""A row of the table for each model: figures from whichever artifact has them, and why others are missing (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from distill_eval.errors import NotComparableError
from distill_eval.pipeline.averaged import average
from distill_eval.pipeline.classified import as_classifier, classified, entries_of
from distill_eval.pipeline.collect import Artifact, of
from distill_eval.pipeline.mentioned import Named
from distill_eval.pipeline.speeds import Benched, benched, speeds
from distill_eval.report.decision import unasked
from distill_eval.schema import fidelity
from distill_eval.schema.bench import BenchRun
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.export import ExportRun
from distill_eval.schema.fidelity import Candidate, Fidelity
from distill_eval.schema.model import ModelFacts
from distill_eval.schema.quant import QuantRun
from distill_eval.schema.report import Variant
from distill_eval.schema.retention import Entry, Estimate, Retention, Verdict, worst
from distill_eval.schema.student import StudentInit

NOT_COMPARED = "no comparison with the teacher has it (distill-eval compare)"
NOT_HELD = "its distribution was not laid beside the teacher's (distill-eval fidelity)"
NOT_BENCHED = "no benchmark has it (distill-eval bench)"
NO_CHANCE = "guessing has no score on these tasks"
NO_BASELINE = "no baseline, the same student trained without a teacher, was compared (compare --baseline)"
IS_TEACHER = "the teacher is what others are measured by"
IS_BASELINE = "a baseline is not judged: it is what a student is held against"
RESULT = ("metric", "num_pairs", "teacher", "student", "contrast")
"""What two comparisons must have alike of one student on one task; p-values also depend on the other tasks."""
Facts = tuple[int | None, int | None]
"""Parameters and bytes of a model, as one artifact has them."""


def rows(artifacts: Sequence[Artifact], named: Named, entries: Mapping[str, Sequence[Entry]]) -> tuple[Variant, ...]:
    """A variant for each model, the teacher first; what is on the frontier is not decided yet.

    Args:
        artifacts: All that were found.
        named: The models in them.
        entries: Of `entries_by_student`.

    Raises:
        NotComparableError: two artifacts say different things of one model.
    """
    measured, labeled = benched(of(artifacts, BenchRun), named), classified(artifacts, named)
    found: list[Variant] = []
    for name in named.models:
        bench = measured.get(name)
        verdict = worst([entry.verdict for entry in entries.get(name, ())])
        row = as_classifier(_without_speed(name, artifacts, named, entries), labeled, verdict)
        found.append(_with_reasons(_with_ratio(_timed(row, bench, named.teacher), found), bench))
    return tuple(found)


def _timed(row: Variant, bench: Benched | None, teacher: str) -> Variant:
    """With what a benchmark says of it; without speeds where these cannot stand beside the teacher's."""
    if bench is None:
        return row
    model = bench.model
    row = replace(
        row,
        quantization=row.quantization or model.quantization,
        size_bytes=row.size_bytes or model.memory.weights_bytes,
    )
    if bench.apart is not None:
        return row
    return replace(
        row,
        bench_engine=model.engine,
        speeds=speeds(bench, teacher, row.name),
        peak_bytes=model.memory.peak_bytes,
    )


def _without_speed(
    name: str, artifacts: Sequence[Artifact], named: Named, all_entries: Mapping[str, Sequence[Entry]]
) -> Variant:
    model, facts = named.models[name], facts_of(name, artifacts, named)
    entries, left = all_entries.get(name, ()), unasked(name, all_entries)
    num_tasks = len(entries) + len(left)
    parameters, size = _first(_sizes(name, artifacts, named))
    kept = [entry for entry in entries if entry.retention.value is not None]
    least = min(kept, key=lambda entry: entry.retention.value or 0.0, default=None)
    kl, top1 = _closeness(name, of(artifacts, Fidelity), named)
    is_teacher = model.role == "teacher"
    nothing = IS_TEACHER if is_teacher else IS_BASELINE if model.role == "baseline" else NOT_COMPARED
    bought = [entry.bought.gap_recovered for entry in entries if entry.bought is not None]
    standard = Estimate(value=1.0, reason=IS_TEACHER)
    return Variant(
        name=name,
        ref=model.ref,
        role=model.role,
        engine=facts.engine if facts else None,
        bench_engine=None,
        quantization=_packing(name, facts, artifacts, named),
        num_parameters=parameters,
        size_bytes=size,
        size_ratio=None,
        retention=standard if is_teacher else average([entry.retention for entry in entries], nothing, num_tasks),
        worst_task=least.task if least else None,
        worst_retention=least.retention if least else Estimate(value=None, reason=nothing),
        retention_above_chance=standard
        if is_teacher
        else average([entry.retention_above_chance for entry in entries], nothing, num_tasks),
        gap_recovered=average(bought, IS_TEACHER if is_teacher else NO_BASELINE if entries else nothing, num_tasks),
        kl=kl,
        top1_agreement=top1,
        speeds=(),
        peak_bytes=None,
        verdict=_verdict(name, of(artifacts, Retention), named, left),
        on_frontier=None,
        reasons={"verdict": nothing, "worst_task": nothing},
    )


def facts_of(name: str, artifacts: Sequence[Artifact], named: Named) -> ModelFacts | None:
    """What a comparison says of a model."""
    return next(
        (
            model
            for run in of(artifacts, Retention).values()
            for model in (run.teacher, *run.students, *run.baselines)
            if named.names[model.ref] == name
        ),
        None,
    )


def entries_by_student(artifacts: Sequence[Artifact], named: Named) -> dict[str, list[Entry]]:
    """By short name, the primary entries of all comparisons of a student, each task once; a classifier's accuracy.

    Raises:
        ArtifactError: the counts of a classifier's training do not go together.
        NotComparableError: two comparisons have the same task with different results, or judge by different criteria.
    """
    retentions = of(artifacts, Retention)
    found = {name: _entries_of(name, retentions, named) for name in named.models}
    compared = {name: entries for name, entries in found.items() if entries}
    return entries_of(classified(artifacts, named), named) | compared


def _entries_of(name: str, retentions: dict[str, Retention], named: Named) -> list[Entry]:
    found: dict[str, tuple[Entry, str]] = {}
    judged = [(where, run) for where, run in retentions.items() if _has(run, name, named)]
    for where, run in judged:
        if run.criterion != judged[0][1].criterion:
            raise NotComparableError(
                f"{name} is judged by one criterion in {judged[0][0]} and by another in {where}: name one of the "
                f"two, or compare again with the same --min-retention, --margin and --level"
            )
        for entry in run.entries:
            if entry.primary and named.names[entry.student_ref] == name:
                before, there = found.setdefault(entry.task, (entry, where))
                _refuse_twice(before, entry, there, where)
    return [entry for entry, _ in found.values()]


def _has(run: Retention, name: str, named: Named) -> bool:
    return any(named.names[student.ref] == name for student in run.students)


def _refuse_twice(before: Entry, entry: Entry, there: str, where: str) -> None:
    """Refuse two results for one task; the same result in two files is one."""
    if all(getattr(before, field) == getattr(entry, field) for field in RESULT):
        return
    said = [f"{one.num_pairs:,} documents, score {one.student.value}" for one in (before, entry)]
    raise NotComparableError(
        f"{entry.student_ref} was judged twice on {entry.task}, with different results: {said[0]} in {there}, "
        f"{said[1]} in {where}. Name one of the two"
    )


def _verdict(name: str, retentions: dict[str, Retention], named: Named, left: Sequence[str]) -> Verdict | None:
    """Over all comparisons, as over the tasks of one: PASS only if all are and no task is left, FAIL if any is."""
    found = [one.verdict for run in retentions.values() for one in run.verdicts if named.names[one.student_ref] == name]
    together = worst(found)
    return "INCONCLUSIVE" if together == "PASS" and left else together


def _closeness(name: str, fidelities: dict[str, Fidelity], named: Named) -> tuple[Estimate, Estimate]:
    """KL from the teacher, and the share of positions with the same most likely token."""
    if name == named.teacher:
        return Estimate(value=0.0, reason=IS_TEACHER), Estimate(value=1.0, reason=IS_TEACHER)
    found: dict[str, Candidate] = {}
    others = set[str]()
    for where, run in fidelities.items():
        for one in run.candidates:
            if named.names[one.model.ref] != name:
                continue
            if named.names[run.reference.ref] == named.teacher:
                found[where] = one
            else:
                others.add(named.names[run.reference.ref])
    if not found:
        held = f"it was laid beside {', '.join(sorted(others))}, not beside the teacher" if others else NOT_HELD
        return Estimate(value=None, reason=held), Estimate(value=None, reason=held)
    if len({one.tokens for one in found.values()}) > 1:
        raise NotComparableError(f"{name} has two fidelities: {' and '.join(found)}. Name one of the two")
    return _estimates(next(iter(found.values())))


def _estimates(one: Candidate) -> tuple[Estimate, Estimate]:
    if one.tokens is None:
        nothing = Estimate(value=None, reason=one.tokens_reason)
        return nothing, nothing
    kl: fidelity.Estimate = one.tokens.kl.mean
    top1 = one.tokens.top1_agreement
    return (
        Estimate(value=kl.value, stderr=kl.stderr, reason="fidelity states its standard error, no interval"),
        Estimate(value=top1.value, stderr=top1.stderr, ci_low=top1.ci_low, ci_high=top1.ci_high),
    )


def _sizes(name: str, artifacts: Sequence[Artifact], named: Named) -> Iterator[Facts]:
    """Parameters and bytes, from the artifact that knows best on."""
    facts = facts_of(name, artifacts, named)
    if facts is not None:
        yield facts.num_parameters, facts.size_bytes
    for run in of(artifacts, Fidelity).values():
        said = (run.reference, *(one.model for one in run.candidates))
        yield from ((None, model.size_bytes) for model in said if named.names[model.ref] == name)
    for one in artifacts:
        own, record = named.made.get(one.where) == name, one.record
        if (isinstance(record, DistillRun) and own) or (isinstance(record, QuantRun) and own):
            yield record.num_parameters, record.size_bytes
        elif isinstance(record, ExportRun) and own:
            yield record.num_parameters, record.graph.size_bytes
        elif isinstance(record, StudentInit) and own:
            yield record.student_num_parameters, record.student_size_bytes
    yield from (_before(one) for one in artifacts if named.names.get(_original(one)) == name)


def _original(one: Artifact) -> str:
    """The model that another was made of."""
    if isinstance(one.record, StudentInit):
        return str(one.record.teacher)
    return str(one.record.model) if isinstance(one.record, QuantRun | ExportRun) else ""


def _before(one: Artifact) -> Facts:
    if isinstance(one.record, StudentInit):
        return one.record.teacher_num_parameters, one.record.teacher_size_bytes
    if isinstance(one.record, QuantRun):
        return one.record.num_parameters, one.record.size_bytes_original
    return (
        (one.record.num_parameters, one.record.original_size_bytes)
        if isinstance(one.record, ExportRun)
        else (None, None)
    )


def _first(sizes: Iterator[Facts]) -> Facts:
    found = list(sizes)
    parameters = next((number for number, _ in found if number is not None), None)
    return parameters, next((size for _, size in found if size is not None), None)


def _packing(name: str, facts: ModelFacts | None, artifacts: Sequence[Artifact], named: Named) -> str | None:
    """How its weights are packed; `None` for weights that are not, or of which nothing says so."""
    if facts is not None:
        return facts.quantization
    made = [one.record for one in artifacts if named.made.get(one.where) == name]
    scheme = next((record.scheme for record in made if isinstance(record, QuantRun)), None)
    exported = next((record.precision for record in made if isinstance(record, ExportRun)), None)
    return scheme or (f"onnx {exported}" if exported else None)


def _with_ratio(row: Variant, before: Sequence[Variant]) -> Variant:
    """With its bytes over those of the first row, the teacher's."""
    whole = before[0].size_bytes if before else row.size_bytes
    return replace(row, size_ratio=row.size_bytes / whole if row.size_bytes and whole else None)


def _with_reasons(row: Variant, bench: Benched | None) -> Variant:
    """With a reason for each field that is `None`, and no other."""
    unseen = NOT_BENCHED if bench is None else bench.apart
    why = {
        "engine": NOT_COMPARED,
        "bench_engine": unseen or NOT_BENCHED,
        "num_parameters": "none of its artifacts counts them",
        "size_bytes": "none of its artifacts knows it",
        "size_ratio": "the bytes of the model or of its teacher are not known",
        "speeds": unseen or NOT_BENCHED,
        "peak_bytes": unseen or "its memory was not seen under load",
        "on_frontier": "of size, speed and retention not all were measured",
        **row.reasons,
    }
    return replace(row, reasons={field: text for field, text in why.items() if getattr(row, field) in (None, ())})
