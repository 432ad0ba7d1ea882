"""How much of the gap between a baseline and the teacher a student recovered: a ratio of two paired differences.

(student - baseline) / (teacher - baseline), all three on the same documents. Both differences are taken unit by unit
(document or task), and the ratio of their means then has the interval that a retention has: the score interval where
retention has it, else Fieller's over the units, or the bootstrap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from distill_eval.compare.evidence import Interval, Sampled, score_range, unseen_documents
from distill_eval.compare.resampled import NUM_RESAMPLES, Resampled, kinds_of_document, resample_models
from distill_eval.compare.score import Support
from distill_eval.compare.units import Units, moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

HEXAGON = np.array([(1, 1), (1, 0), (0, 1), (-1, -1), (-1, 0), (0, -1)], dtype=np.float64)
"""(student - baseline, teacher - baseline) of a document at the ends of the range; what else is possible lies between:
both differences are to the same baseline, so they are never 1 and -1."""


class Gap(NamedTuple):
    """What documents say about two differences to one baseline."""

    evidence: Sampled | Resampled
    """Of the differences to the baseline instead of scores, signed so that more is better."""
    reach: float | None
    """The most by which two scores of a document can differ, where its range is known."""

    def recovered(self, level: float) -> Interval:
        """(student - baseline) / (teacher - baseline); NaN where the teacher's difference is not above 0.

        Unbounded where it cannot be told from 0. As in `Sampled`, no interval ends before the value that a few more
        documents of one kind would give.
        """
        found = self.evidence.ratio(0.0, level)
        if self.reach is None or not isinstance(self.evidence, Sampled):
            return found
        scores = moments(self.evidence.units)
        more = (unseen_documents(self.evidence.num_docs, level) / self.evidence.num_docs * self.reach)[:, None]
        top, bottom = scores.student[:, None] + more * HEXAGON[:, 0], scores.teacher[:, None] + more * HEXAGON[:, 1]
        safe = (bottom > 0).all(axis=-1)
        ratios = top / np.where(bottom > 0, bottom, 1.0)
        low = np.where(safe, np.minimum(found.low, ratios.min(axis=-1)), -np.inf)
        high = np.where(safe, np.maximum(found.high, ratios.max(axis=-1)), np.inf)
        return found._replace(low=low, high=high)


def sampled_gap(student: Sampled, teacher: Sampled, *, higher_is_better: bool) -> Gap:
    """The gap from units that are independent of each other.

    Args:
        student: The student (as the student) against the baseline (as the teacher).
        teacher: The teacher (as the student) against the same baseline, on the same units.
        higher_is_better: Of the scores.
    """
    sign = 1.0 if higher_is_better else -1.0
    bought, missing = (sign * (one.units.student - one.units.teacher) for one in (student, teacher))
    units = Units(student=bought, teacher=missing, weight=student.units.weight)
    known = [one.bounds for one in (student, teacher) if one.bounds is not None]
    if not known:
        return Gap(Sampled(units=units, num_docs=student.num_docs), reach=None)
    seen = score_range(np.concatenate([student.units.student, student.units.teacher]), teacher.units.student)
    lows, highs = zip(*known, seen, strict=True)
    reach = max(highs) - min(lows)
    support = None
    if student.support is not None or teacher.support is not None:
        support = _support(units, reach, student.num_docs)
    return Gap(Sampled(units=units, num_docs=student.num_docs, support=support), reach)


def _support(units: Units, reach: float, num_docs: Floats) -> Support:
    """A point per document, and the ends of the range as points that no document has shown."""
    corners = np.broadcast_to(reach * HEXAGON, (len(num_docs), *HEXAGON.shape))
    return Support(
        student=np.concatenate([units.student, corners[..., 0]], axis=-1),
        teacher=np.concatenate([units.teacher, corners[..., 1]], axis=-1),
        share=np.concatenate([units.weight, np.zeros(corners.shape[:2])], axis=-1),
        num_docs=num_docs,
    )


def resampled_gap(
    items: Sequence[tuple[str, str, str]],
    aggregation: str,
    *,
    higher_is_better: bool,
    level: float,
    rng: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
) -> Gap | str:
    """The gap of a corpus metric, all three models scored on the same resamples; or why there is none.

    Args:
        items: Per document, the baseline's, the teacher's and the student's item.
        aggregation: lm-eval's name.
        higher_is_better: Of the metric.
        level: As in `resample`.
        rng: The only source of randomness.
        num_resamples: How many.
    """
    scores = resample_models(items, aggregation, level=level, rng=rng, num_resamples=num_resamples)
    if isinstance(scores, str):
        return scores
    sign = 1.0 if higher_is_better else -1.0
    baseline, teacher, student = scores
    of_baseline, of_teacher, of_student = kinds_of_document([score.extended for score in scores])
    evidence = Resampled(
        num_docs=float(len(items)),
        observed=(sign * (student.observed - baseline.observed), sign * (teacher.observed - baseline.observed)),
        student=sign * (student.resampled - baseline.resampled),
        teacher=sign * (teacher.resampled - baseline.resampled),
        extended=sign * np.stack([of_student - of_baseline, of_teacher - of_baseline], axis=-1),
    )
    return Gap(evidence, reach=None)
