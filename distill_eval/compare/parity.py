"""What of a variant's loss is its engine's, and what its quantization's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distill_eval.compare.pairing import Evaluated
from distill_eval.schema.evals import MetricRun, Sample
from distill_eval.schema.retention import EngineParity, Estimate

NO_DOCUMENT = "no document in common"


def split_loss(plain: Evaluated, moved: Evaluated, student: Evaluated) -> tuple[EngineParity, ...]:
    """One entry per task, on the documents that all three have scored.

    The parts add up: (moved - plain) is the engine's, (student - moved) the quantization's. Standard errors are those
    of the mean of paired differences, with documents as units.

    Args:
        plain: The unquantized model on transformers.
        moved: The same weights on the student's engine.
        student: The variant, on its engine.
    """
    found = []
    for task in plain.run.tasks:
        metric = next(metric for metric in task.metrics if metric.primary)
        samples = [_by_document(one.samples.get(task.task, ()), metric) for one in (plain, moved, student)]
        shared = sorted(set.intersection(*(set(one) for one in samples)))
        first, second, third = (np.array([one[key] for key in shared], dtype=np.float64) for one in samples)
        is_score = metric.kind in ("binary", "real") and bool(shared)
        counted = is_score and metric.kind == "binary"
        reason = None if is_score else f"{metric.metric} is no score per document" if shared else NO_DOCUMENT
        found.append(
            EngineParity(
                student_ref=student.run.model.ref,
                engine=student.run.model.engine,
                unquantized_ref=moved.run.model.ref,
                task=task.task,
                metric=metric.metric,
                num_docs=len(shared),
                engine_part=_mean(second - first) if is_score else Estimate(value=None, reason=reason),
                quantization_part=_mean(third - second) if is_score else Estimate(value=None, reason=reason),
                num_engine_flips=int((first != second).sum()) if counted else None,
                num_quantization_flips=int((second != third).sum()) if counted else None,
                reason=reason,
            )
        )
    return tuple(found)


def unknown_parity(student: Evaluated, reason: str) -> EngineParity:
    """A student whose unquantized model could not be run on its engine."""
    nothing = Estimate(value=None, reason=reason)
    return EngineParity(
        student_ref=student.run.model.ref,
        engine=student.run.model.engine,
        unquantized_ref=None,
        task=None,
        metric=None,
        num_docs=0,
        engine_part=nothing,
        quantization_part=nothing,
        num_engine_flips=None,
        num_quantization_flips=None,
        reason=reason,
    )


def _by_document(samples: Sequence[Sample], metric: MetricRun) -> dict[tuple[int, str], float]:
    """Scores by document and its hash, so that data that changed between two runs is not paired."""
    found = {}
    for sample in samples:
        for one in sample.metrics:
            if (one.metric, one.filter) == (metric.metric, metric.filter) and one.value is not None:
                found[sample.doc_id, sample.doc_hash] = one.value
    return found


def _mean(differences: NDArray[np.float64]) -> Estimate:
    number = len(differences)
    value = float(differences.mean())
    if number < 2:
        return Estimate(value=value, reason="one document shows no variance")
    return Estimate(value=value, stderr=float(differences.std(ddof=1) / math.sqrt(number)))
