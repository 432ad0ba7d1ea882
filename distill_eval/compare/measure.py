"""From paired documents to the evidence, the test and the counts of one task or group under one metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np

from distill_eval.compare.evidence import (
    Evidence,
    Sampled,
    binary_evidence,
    bits_evidence,
    effective_docs,
    group_evidence,
    nats_evidence,
    real_evidence,
    score_range,
)
from distill_eval.compare.groups import BITS, Key, texts
from distill_eval.compare.pairing import PairedMetric, PairedTask, pair_metric
from distill_eval.compare.perplexity import Perplexities
from distill_eval.compare.resampled import resample
from distill_eval.compare.significance import sign_test
from distill_eval.compare.units import Units, moments, t_test
from distill_eval.errors import ArtifactError
from distill_eval.schema.evals import MetricKind, MetricSample
from distill_eval.schema.retention import Flips

UNITS: dict[MetricKind, str] = {"binary": "share", "real": "score", "loglikelihood": "perplexity", "corpus": "score"}
NOT_PRINTED = "lm-eval does not print bits per byte for this task"


class Measured(NamedTuple):
    """One task or group under one metric, measured but not yet judged."""

    kind: MetricKind
    unit: str
    """As in `Entry.unit`."""
    higher_is_better: bool
    """Of the value compared: perplexities and bits per byte are better when lower."""
    num_pairs: int
    num_docs_total: int
    num_tasks: int
    lm_eval_teacher: float | None
    lm_eval_student: float | None
    lm_eval_reason: str | None
    """Why one of the two is missing."""
    evidence: Evidence | None = None
    reason: str | None = None
    """Why there is no evidence."""
    num_effective: float | None = None
    """Documents of equal weight that would say as much; `None`: as many as there are."""
    test: str | None = None
    p_value: float | None = None
    num_better: int = 0
    """Documents on which the student's number is higher than the teacher's."""
    num_worse: int = 0
    chance: float | None = None
    flips: Flips | None = None
    aggregation: str = ""
    """lm-eval's name; of one corpus metric only, as are the items."""
    items: tuple[tuple[str, str], ...] = ()
    """Per document, the teacher's and the student's item."""


def measure_task(task: PairedTask, key: Key, *, level: float, seed: int) -> Measured:
    """Measure one metric of one task.

    Raises:
        ArtifactError: a sample lacks what its metric needs.
    """
    known = texts(task.teacher, key[1])
    derived = key[0] == BITS and bool(known) and known[0].metric != BITS
    metric = pair_metric(task, known[0].metric if derived else key[0], key[1])
    kind = _kind(metric)
    teacher, student = metric.teacher, metric.student
    higher_is_better = teacher.higher_is_better and kind != "loglikelihood"
    found = Measured(
        kind=kind,
        unit="bits/byte" if kind == "loglikelihood" and key[0] == BITS else UNITS[kind],
        higher_is_better=higher_is_better,
        num_pairs=len(metric.samples),
        num_docs_total=task.teacher.num_docs_total,
        num_tasks=1,
        lm_eval_teacher=None if derived else teacher.value,
        lm_eval_student=None if derived else student.value,
        lm_eval_reason=NOT_PRINTED if derived else _no_value(metric),
        chance=_chance(task) if kind == "binary" and higher_is_better else None,
    )
    if kind == "corpus":
        return _with_bootstrap(found, task, metric, level, seed)
    missing = sum(teacher.value is None or student.value is None for teacher, student in metric.samples)
    if missing:
        return found._replace(reason=f"{missing:,} of {found.num_pairs:,} documents have no number under this metric")
    return _with_documents(found, task, metric)


def _kind(metric: PairedMetric) -> MetricKind:
    """The kind of the pair: 0/1 scores beside real-valued ones are real-valued."""
    kinds = {metric.teacher.kind, metric.student.kind}
    if kinds == {"binary", "real"}:
        return "real"
    if len(kinds) > 1:
        raise ArtifactError(
            f"{metric.teacher.metric} is {metric.teacher.kind} in one evaluation and {metric.student.kind} in the other"
        )
    return metric.teacher.kind


def _no_value(metric: PairedMetric) -> str | None:
    """Why lm-eval has no score for one of the models."""
    runs = [run for run in (metric.teacher, metric.student) if run.value is None]
    return "; ".join(dict.fromkeys(run.value_reason or "lm-eval gives no score" for run in runs)) or None


def _with_documents(found: Measured, task: PairedTask, metric: PairedMetric) -> Measured:
    """Evidence from a number per document."""
    where = f"{metric.teacher.metric} of {task.teacher.task}"
    teacher, student = (np.array([[_number(both[side], where) for both in metric.samples]]) for side in (0, 1))
    if found.kind == "binary" and not np.isin([teacher, student], (0.0, 1.0)).all():
        raise ArtifactError(f"{where} is stored as a 0/1 metric but has other values; evaluate the task again")
    found = found._replace(num_better=int((student > teacher).sum()), num_worse=int((student < teacher).sum()))
    if found.unit == "perplexity":
        return _with_perplexity(found, metric, student, teacher)
    if found.unit == "bits/byte":
        num_bytes = np.array([[_num_bytes(both, where) for both in metric.samples]])
        return _tested(found, bits_evidence(student, teacher, num_bytes), "paired t, documents weighted by bytes")
    if found.kind == "real":
        return _tested(found, real_evidence(student, teacher), "paired t")
    return found._replace(
        evidence=binary_evidence(student, teacher),
        test="exact McNemar",
        p_value=sign_test(found.num_better, found.num_worse),
        flips=_flips(metric, higher_is_better=found.higher_is_better),
    )


def _tested(found: Measured, evidence: Sampled, test: str) -> Measured:
    """The evidence with its t test, or the sign test of the documents where nothing varies."""
    p_value = float(t_test(moments(evidence.units))[0])
    if math.isnan(p_value):
        p_value, test = sign_test(found.num_better, found.num_worse), "exact sign test"
    return found._replace(evidence=evidence, num_effective=float(evidence.num_docs[0]), test=test, p_value=p_value)


def _with_perplexity(found: Measured, metric: PairedMetric, student: np.ndarray, teacher: np.ndarray) -> Measured:
    """Evidence about a perplexity as lm-eval weighs the documents: equally, by words or by bytes."""
    sizes: list[int | None] = [1] * found.num_pairs
    if metric.teacher.aggregation != "perplexity":
        sizes = [s.num_bytes if s.num_words is None else s.num_words for s, _ in metric.samples]
    if found.lm_eval_reason is not None or not all(sizes):
        return found._replace(reason=found.lm_eval_reason or "the sizes of its documents are not known")
    nats = nats_evidence(student, teacher, np.array([[float(size or 0) for size in sizes]]))
    return _tested(found, nats, "paired t of log-likelihoods")._replace(evidence=Perplexities(nats))


def _number(sample: MetricSample, where: str) -> float:
    if sample.value is None or not math.isfinite(sample.value):
        raise ArtifactError(
            f"a document has the value {sample.value} for {where}, expected a number; evaluate the task again"
        )
    return sample.value


def _num_bytes(both: tuple[MetricSample, MetricSample], where: str) -> float:
    teacher, student = (sample.num_bytes for sample in both)
    if teacher != student or not teacher:
        raise ArtifactError(
            f"a document has {teacher} bytes for the teacher and {student} for the student under {where}, "
            "expected the same number above 0; evaluate the task again"
        )
    return float(teacher)


def _chance(task: PairedTask) -> float | None:
    """Score of guessing: the mean of one over the number of options; `None` unless every document has options."""
    options = [teacher.num_options for teacher, _ in task.documents]
    return math.fsum(1.0 / n for n in options if n) / len(options) if all(options) else None


def _flips(metric: PairedMetric, *, higher_is_better: bool) -> Flips:
    """Documents by whether teacher and student are right: 1, or 0 where lower is better."""
    right = [tuple(bool(one.value) == higher_is_better for one in both) for both in metric.samples]
    answers = [(t.answer, s.answer) for (t, s), both in zip(metric.samples, right, strict=True) if not any(both)]
    known = all(t is not None and s is not None for t, s in answers)
    return Flips(
        num_harmful=right.count((True, False)),
        num_beneficial=right.count((False, True)),
        num_wrong_to_other_wrong=sum(t != s for t, s in answers) if known else None,
    )


def _with_bootstrap(found: Measured, task: PairedTask, metric: PairedMetric, level: float, seed: int) -> Measured:
    """Evidence for a function of all documents together."""
    run = metric.teacher
    stored = [(teacher.item, student.item) for teacher, student in metric.samples]
    items = tuple((teacher, student) for teacher, student in stored if teacher is not None and student is not None)
    if len(items) < len(stored):
        return found._replace(reason="its documents were stored without what the score is made of")
    name = f"{task.teacher.task}/{run.metric}/{run.filter}"
    rng = np.random.default_rng([seed, crc32(name.encode())])
    evidence = resample(items, run.aggregation, level=level, rng=rng)
    if isinstance(evidence, str):
        return found._replace(reason=evidence)
    found = found._replace(aggregation=run.aggregation, items=items)
    return found._replace(evidence=evidence, test="paired bootstrap", p_value=evidence.p_value())


def measure_group(members: Sequence[Measured], *, weight_by_size: bool) -> Measured:
    """Measure a group by its members: the mean over documents or over tasks, tasks as clusters."""
    if len(members) == 1:
        return members[0]
    kinds = {member.kind for member in members}
    sizes = np.array([float(member.num_pairs) for member in members])
    weight = sizes / sizes.sum() if weight_by_size else np.full(len(members), 1.0 / len(members))
    kind: MetricKind = members[0].kind if len(kinds) == 1 else "real"
    found = Measured(
        kind=kind,
        unit=members[0].unit if len(kinds) == 1 else UNITS[kind],
        higher_is_better=members[0].higher_is_better,
        num_pairs=int(sizes.sum()),
        num_docs_total=sum(member.num_docs_total for member in members),
        num_tasks=len(members),
        lm_eval_teacher=_mean(weight, [member.lm_eval_teacher for member in members]),
        lm_eval_student=_mean(weight, [member.lm_eval_student for member in members]),
        lm_eval_reason=next((member.lm_eval_reason for member in members if member.lm_eval_reason), None),
        num_better=sum(member.num_better for member in members),
        num_worse=sum(member.num_worse for member in members),
        chance=_mean(weight, [member.chance for member in members]),
        flips=_sum_flips([member.flips for member in members]),
    )
    if not (len(kinds) == 1 or kinds == {"binary", "real"}) or len({m.higher_is_better for m in members}) > 1:
        return found._replace(reason="its tasks measure this in different units")
    evidence = _group_evidence(members, found, weight)
    if evidence is None:
        return found._replace(reason="a task of the group has no score")
    return _tested(found, evidence, "clustered t")


def _mean(weight: np.ndarray, values: Sequence[float | None]) -> float | None:
    """The weighted mean, or `None` if a value is missing."""
    known = [value for value in values if value is not None]
    return math.fsum(weight * np.array(known)) if len(known) == len(values) else None


def _sum_flips(flips: Sequence[Flips | None]) -> Flips | None:
    known = [flip for flip in flips if flip is not None]
    if len(known) < len(flips):
        return None
    others = [flip.num_wrong_to_other_wrong for flip in known]
    return Flips(
        num_harmful=sum(flip.num_harmful for flip in known),
        num_beneficial=sum(flip.num_beneficial for flip in known),
        num_wrong_to_other_wrong=None if None in others else sum(other or 0 for other in others),
    )


def _group_evidence(members: Sequence[Measured], found: Measured, weight: np.ndarray) -> Sampled | None:
    """Tasks as units; for corpus metrics and perplexities their scores are all that is known of them."""
    samples = [member.evidence for member in members if isinstance(member.evidence, Sampled)]
    if found.kind != "corpus" and found.unit != "perplexity":
        return group_evidence(samples, weight) if len(samples) == len(members) else None
    scores = [(member.lm_eval_student, member.lm_eval_teacher) for member in members]
    known = [(student, teacher) for student, teacher in scores if student is not None and teacher is not None]
    if len(known) < len(scores):
        return None
    student, teacher = np.array(known).T[:, None, :]
    num_docs = effective_docs(weight, [np.array([float(member.num_pairs)]) for member in members])
    bounds = None if found.unit == "perplexity" else score_range(student, teacher)
    return Sampled(units=Units(student, teacher, weight[None, :]), num_docs=num_docs, bounds=bounds)
