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
    real_evidence,
    score_range,
)
from distill_eval.compare.groups import Key
from distill_eval.compare.pairing import PairedMetric, PairedTask, pair_metric
from distill_eval.compare.resampled import resample
from distill_eval.compare.significance import sign_test
from distill_eval.compare.units import Units, moments, t_test
from distill_eval.errors import ArtifactError
from distill_eval.schema.evals import MetricKind, MetricSample
from distill_eval.schema.retention import Flips

UNITS: dict[MetricKind, str] = {"binary": "share", "real": "score", "loglikelihood": "bits/byte", "corpus": "score"}


class Measured(NamedTuple):
    """One task or group under one metric, measured but not yet judged."""

    kind: MetricKind
    higher_is_better: bool
    """Of the value compared: bits per byte are better when lower, whatever the metric's name."""
    evidence: Evidence | None
    reason: str | None
    """Why there is no evidence."""
    test: str | None
    p_value: float | None
    num_pairs: int
    num_docs_total: int
    num_tasks: int
    num_better: int
    """Documents on which the student's number is higher than the teacher's."""
    num_worse: int
    chance: float | None
    flips: Flips | None
    lm_eval_teacher: float | None
    lm_eval_student: float | None


def measure_task(task: PairedTask, key: Key, *, level: float, seed: int) -> Measured:
    """Measure one metric of one task.

    Raises:
        ArtifactError: a sample lacks what its metric needs.
    """
    metric = pair_metric(task, *key)
    kind = _kind(metric)
    found = Measured(
        kind=kind,
        higher_is_better=metric.teacher.higher_is_better and kind != "loglikelihood",
        evidence=None,
        reason=None,
        test=None,
        p_value=None,
        num_pairs=len(metric.samples),
        num_docs_total=task.teacher.num_docs_total,
        num_tasks=1,
        num_better=0,
        num_worse=0,
        chance=_chance(task) if kind == "binary" else None,
        flips=_flips(metric) if kind == "binary" else None,
        lm_eval_teacher=metric.teacher.value,
        lm_eval_student=metric.student.value,
    )
    if kind == "corpus":
        return _with_bootstrap(found, task, metric, level, seed)
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


def _with_documents(found: Measured, task: PairedTask, metric: PairedMetric) -> Measured:
    """Evidence from a number per document."""
    where = f"{metric.teacher.metric} of {task.teacher.task}"
    teacher, student = (np.array([[_number(both[side], where) for both in metric.samples]]) for side in (0, 1))
    if found.kind == "binary" and not np.isin([teacher, student], (0.0, 1.0)).all():
        raise ArtifactError(f"{where} is stored as a 0/1 metric but has other values; evaluate the task again")
    if found.kind == "loglikelihood":
        num_bytes = np.array([[_num_bytes(both, where) for both in metric.samples]])
        evidence, test = bits_evidence(student, teacher, num_bytes), "paired t, documents weighted by bytes"
    elif found.kind == "binary":
        evidence, test = binary_evidence(student, teacher), "exact McNemar"
    else:
        evidence, test = real_evidence(student, teacher), "paired t"
    better, worse = int((student > teacher).sum()), int((student < teacher).sum())
    p_value = math.nan if found.kind == "binary" else float(t_test(moments(evidence.units))[0])
    if math.isnan(p_value):
        p_value, test = sign_test(better, worse), test if found.kind == "binary" else "exact sign test"
    return found._replace(evidence=evidence, test=test, p_value=p_value, num_better=better, num_worse=worse)


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


def _flips(metric: PairedMetric) -> Flips:
    """Documents by whether teacher and student are right."""
    right = [(bool(teacher.value), bool(student.value)) for teacher, student in metric.samples]
    answers = [(t.answer, s.answer) for t, s in metric.samples if not t.value and not s.value]
    known = all(t is not None and s is not None for t, s in answers)
    return Flips(
        num_harmful=right.count((True, False)),
        num_beneficial=right.count((False, True)),
        num_wrong_to_other_wrong=sum(t != s for t, s in answers) if known else None,
    )


def _with_bootstrap(found: Measured, task: PairedTask, metric: PairedMetric, level: float, seed: int) -> Measured:
    """Evidence for a function of all documents together."""
    run = metric.teacher
    items = [(teacher.item, student.item) for teacher, student in metric.samples]
    if any(item is None for both in items for item in both):
        return found._replace(reason="its documents were stored without what the score is made of")
    name = f"{task.teacher.task}/{run.metric}/{run.filter}"
    rng = np.random.default_rng([seed, crc32(name.encode())])
    evidence = resample([(t or "", s or "") for t, s in items], run.aggregation, level=level, rng=rng)
    if isinstance(evidence, str):
        return found._replace(reason=evidence)
    return found._replace(evidence=evidence, test="paired bootstrap", p_value=evidence.p_value())


def measure_group(members: Sequence[Measured], *, weight_by_size: bool) -> Measured:
    """Measure a group by its members: the mean over documents or over tasks, tasks as clusters."""
    if len(members) == 1:
        return members[0]
    kinds = {member.kind for member in members}
    sizes = np.array([float(member.num_pairs) for member in members])
    weight = sizes / sizes.sum() if weight_by_size else np.full(len(members), 1.0 / len(members))
    kind: MetricKind = members[0].kind if len(kinds) == 1 else "real"
    found = members[0]._replace(
        kind=kind,
        evidence=None,
        test=None,
        p_value=None,
        num_pairs=int(sizes.sum()),
        num_docs_total=sum(member.num_docs_total for member in members),
        num_tasks=len(members),
        num_better=sum(member.num_better for member in members),
        num_worse=sum(member.num_worse for member in members),
        chance=_mean(weight, [member.chance for member in members]),
        flips=_sum_flips([member.flips for member in members]),
        lm_eval_teacher=_mean(weight, [member.lm_eval_teacher for member in members]),
        lm_eval_student=_mean(weight, [member.lm_eval_student for member in members]),
    )
    if not (len(kinds) == 1 or kinds == {"binary", "real"}) or len({m.higher_is_better for m in members}) > 1:
        return found._replace(reason="its tasks measure this in different units")
    evidence = _group_evidence(members, kind, weight)
    if evidence is None:
        return found._replace(reason="a task of the group has no score")
    p_value, test = float(t_test(moments(evidence.units))[0]), "clustered t"
    if math.isnan(p_value):
        p_value, test = sign_test(found.num_better, found.num_worse), "exact sign test"
    return found._replace(evidence=evidence, reason=None, test=test, p_value=p_value)


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


def _group_evidence(members: Sequence[Measured], kind: MetricKind, weight: np.ndarray) -> Sampled | None:
    """Tasks as units; for a corpus metric their scores are all that is known of them."""
    if kind == "corpus":
        scores = [(member.lm_eval_student, member.lm_eval_teacher) for member in members]
        known = [(student, teacher) for student, teacher in scores if student is not None and teacher is not None]
        if len(known) < len(scores):
            return None
        student, teacher = np.array(known).T[:, None, :]
        num_docs = effective_docs(weight, [np.array([float(member.num_pairs)]) for member in members])
        bounds = score_range(student, teacher)
        return Sampled(units=Units(student, teacher, weight[None, :]), num_docs=num_docs, bounds=bounds)
    samples = [member.evidence for member in members if isinstance(member.evidence, Sampled)]
    return group_evidence(samples, weight) if len(samples) == len(members) else None
