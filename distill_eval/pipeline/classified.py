"""What trainings measured of classifiers: how they label, how fast, in how much memory (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from distill_eval.pipeline.collect import Artifact, of
from distill_eval.pipeline.joined import common
from distill_eval.pipeline.mentioned import Named
from distill_eval.pipeline.speeds import IS_TEACHER, batch_label
from distill_eval.schema.distill import Classification, ClassifierFigures, DistillRun
from distill_eval.schema.report import Speed, Variant
from distill_eval.schema.retention import DEFAULT, Entry, Estimate, Finding, Verdict

ONE_TEXT = batch_label(1)
"""What a training times."""
NO_TOKENS = "a classifier has no next token"
NOT_MEASURED = "its labels were not counted beside the teacher's: a training counts those of the student that it trains"
NOT_PAIRED = "student and baseline are not paired: a training counts texts beside its teacher alone"
NO_BASELINE = "no baseline, the same student trained without a teacher, is here (distill --baseline)"
NO_SPREAD = "a training times each text once, which shows no spread between repeats (distill-eval bench does)"


class Classified(NamedTuple):
    """A classifier, as a training measured it."""

    where: str
    run: DistillRun
    measured: Classification
    figures: ClassifierFigures
    """Its own."""
    teacher: ClassifierFigures | None
    """Those of the report's teacher, by the same training; `None` where another taught."""

    @property
    def machine(self) -> str:
        """What latencies are of."""
        return f"{self.run.provenance.hardware} ({self.measured.device}, threads: {self.figures.num_threads})"


def classified(artifacts: Sequence[Artifact], named: Named) -> dict[str, Classified]:
    """By short name; the teacher as the first training of a student measured it."""
    found: dict[str, Classified] = {}
    trainings = sorted(of(artifacts, DistillRun).items(), key=lambda item: item[1].baseline)
    for where, run in trainings:
        name, measured = named.made[where], run.classification
        if measured is None or name == named.teacher:
            continue
        teacher = _teacher(run, measured, named)
        found[name] = Classified(where, run, measured, measured.student, teacher)
        if teacher is not None:
            found.setdefault(named.teacher, Classified(where, run, measured, teacher, teacher))
    return found


def _teacher(run: DistillRun, measured: Classification, named: Named) -> ClassifierFigures | None:
    own = named.models[named.teacher].refs
    pairs = zip(run.teachers, measured.teachers, strict=True)
    return next((figures for ref, figures in pairs if any(common(str(ref), name) for name in own)), None)


def entries_of(found: Mapping[str, Classified], named: Named) -> dict[str, list[Entry]]:
    """By the short name of a student, its accuracy beside the teacher's.

    Raises:
        ArtifactError: the counts of a training do not go together.
    """
    from distill_eval.compare.labels import entry_of_labels

    return {
        name: [entry_of_labels(named.models[name].ref, one.measured.measured_on, one.figures, one.teacher, DEFAULT)]
        for name, one in found.items()
        if name in named.models and named.models[name].role == "student" and one.teacher is not None
    }


def as_classifier(row: Variant, found: Mapping[str, Classified], verdict: Verdict | None) -> Variant:
    """The row with what trainings say of it; as it is where none measured a classifier.

    Args:
        row: Without its speed.
        found: Of `classified`.
        verdict: On its entries.
    """
    if not found:
        return row
    one, is_student = found.get(row.name), row.role == "student"
    nothing = Estimate(value=None, reason=NO_TOKENS)
    row = replace(row, kl=nothing, top1_agreement=nothing)
    if is_student:
        has_baseline = any(other.run.baseline for other in found.values())
        gap = replace(row.gap_recovered, reason=NOT_PAIRED if has_baseline else NO_BASELINE)
        row = replace(row, gap_recovered=gap, verdict=verdict or row.verdict)
    if one is None or (one.teacher is None and is_student):
        return _unmeasured(row, one)
    return _timed(row, one, found)


def _unmeasured(row: Variant, one: Classified | None) -> Variant:
    """With the reason why its labels are not held against the teacher's."""
    if row.role != "student":
        return row
    taught = ", ".join(map(str, one.run.teachers)) if one is not None else ""
    why = f"its training counted labels beside {taught}, not beside the teacher" if taught else NOT_MEASURED
    return replace(
        row,
        retention=replace(row.retention, reason=why),
        worst_retention=replace(row.worst_retention, reason=why),
        retention_above_chance=replace(row.retention_above_chance, reason=why),
        reasons=row.reasons | {"verdict": why, "worst_task": why},
    )


def _timed(row: Variant, one: Classified, found: Mapping[str, Classified]) -> Variant:
    """With its size, and latency and memory where they were measured as the teacher's were."""
    figures, is_teacher = one.figures, row.role == "teacher"
    row = replace(
        row,
        engine=row.engine or "hf",
        num_parameters=row.num_parameters or figures.num_parameters,
        size_bytes=row.size_bytes or figures.size_bytes,
    )
    base = next((other for other in found.values() if other.figures is other.teacher), one)
    why = figures.unmeasured
    if why is None and one.machine != base.machine:
        why = f"it was timed on {one.machine}, the teacher on {base.machine}"
    if why is not None:
        return replace(row, reasons=row.reasons | {"speeds": why, "peak_bytes": why, "bench_engine": why})
    speed = Speed(
        load=ONE_TEXT,
        ttft_p50_ms=None,
        ttft_p99_ms=None,
        tpot_p50_ms=None,
        tpot_p99_ms=None,
        output_throughput=None,
        speedup=None,
        latency_p50_ms=figures.latency_p50_ms,
        latency_p95_ms=figures.latency_p95_ms,
        reason=IS_TEACHER if is_teacher else NO_SPREAD,
    )
    return replace(row, speeds=(speed,), peak_bytes=figures.resident_bytes, bench_engine="hf")


def remarks_on_labels(found: Mapping[str, Classified]) -> Iterator[Finding]:
    """What must be known of the texts, and of latency and memory."""
    texts = dict.fromkeys(one.measured.measured_on for one in found.values() if one.measured.is_validation)
    if texts:
        text = (
            f"Accuracies are of {', '.join(texts)}: the validation texts, looked at while it trained. Unseen ones: "
            "--test-split (in a recipe test_split in [distill.labels])."
        )
        yield Finding(weight="medium", subject="accuracy", text=text)
    for name, one in found.items():
        if len(one.run.teachers) > 1:
            others = ", ".join(str(teacher) for teacher in one.run.teachers)
            text = f"It learned from several teachers ({others}), and is held against one of them."
            yield Finding(weight="medium", subject=name, text=text)
    if any(one.figures.resident_bytes is not None for one in found.values()):
        text = "Memory in the table is that of a fresh process after its requests, Python and its libraries included."
        yield Finding(weight="low", subject="memory", text=text)
