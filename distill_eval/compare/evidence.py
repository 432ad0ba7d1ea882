"""What the documents of one task or group say about two models, as values with intervals.

Three cases, one face (`linear` and `ratio`):

- one task of 0/1 scores, or of real-valued ones that seldom differ: score intervals (`score.py`);
- a group of tasks, other real-valued scores, bits per byte: t and Fieller intervals over units (`units.py`);
- a corpus metric: see `resampled.py`.

Where a document's range is known, no interval ends before the value that the estimate would take if a few more
documents (`unseen_documents`, about four) showed the worst, or the best, that a document can show. This is the score
interval's own behavior at its corner, where all documents agree; it keeps a group whose tasks all agree from a width
of zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from distill_eval.compare.score import Support, mean_interval, ratio_interval
from distill_eval.compare.units import Moments, Units, fieller_interval, moments, t_interval, t_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


FEW_CHANGES = 50
"""With fewer changed documents than this, and than half of all, t intervals of rare differences hold the truth too
seldom and pass a student on the margin too often (measured in docs/design/statistics.md)."""


class Interval(NamedTuple):
    """Estimates with standard errors and interval ends, each of shape (R,); NaN is undefined, infinite unbounded."""

    value: Floats
    stderr: Floats
    low: Floats
    high: Floats


class Evidence(Protocol):
    """Anything that can tell about linear contrasts and ratios of the two scores."""

    def linear(self, student: float, teacher: float, level: float) -> Interval:
        """`student * (student's score) + teacher * (teacher's score)`."""

    def ratio(self, chance: float, level: float) -> Interval:
        """`(student's score - chance) / (teacher's score - chance)`."""

    def inverse(self) -> Evidence:
        """The same with student and teacher exchanged."""

    def within_share(self, student: float, teacher: float) -> float:
        """The share of the contrast's variance that more documents of the same tasks would reduce."""


class Sampled(NamedTuple):
    """Evidence from documents or tasks that are independent of each other."""

    units: Units
    num_docs: Floats
    """Shape (R,): documents, or their effective number where they have unequal weights."""
    support: Support | None = None
    """Set for one task of limited range: its intervals are score intervals."""
    bounds: tuple[float, float] | None = None
    """The least and the most that a document can score, where that is known."""
    within: Moments | None = None
    """Set for a group: the variances that its tasks' documents alone would give."""

    def linear(self, student: float, teacher: float, level: float) -> Interval:
        """See `Evidence.linear`; NaN ends without a variance: one unit, or all alike at another value than 0."""
        found = moments(self.units)
        value, stderr = found.mean(student, teacher), np.sqrt(found.variance(student, teacher))
        low, high = self._linear_ends(found, student, teacher, level)
        if self.bounds is not None:
            more = unseen_documents(self.num_docs, level) / self.num_docs
            corners = [student * s + teacher * t for s in self.bounds for t in self.bounds]
            least, most = min(corners), max(corners)
            low = np.maximum(np.minimum(low, (value + more * least) / (1.0 + more)), least)
            high = np.minimum(np.maximum(high, (value + more * most) / (1.0 + more)), most)
        return Interval(value, stderr, low, high)

    def _linear_ends(self, found: Moments, student: float, teacher: float, level: float) -> tuple[Floats, Floats]:
        if self.support is None:
            low, high = t_interval(found, student, teacher, level)
            known = (low < high) | (found.mean(student, teacher) == 0.0) | (self.bounds is not None)
            return np.where(known, low, np.nan), np.where(known, high, np.nan)
        return mean_interval(self.support, student, teacher, t_quantile(self.num_docs - 1.0, level) ** 2)

    def ratio(self, chance: float | Floats, level: float) -> Interval:
        """See `Evidence.ratio`; NaN where the teacher's mean is not above chance."""
        found = moments(self.units)
        guess = np.broadcast_to(np.asarray(chance, dtype=np.float64), self.num_docs.shape)
        top, bottom = found.student - guess, found.teacher - guess
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.where(bottom > 0, top / bottom, np.nan)
            stderr = np.sqrt(found.variance(1.0, -value)) / bottom
        if self.support is None:
            low, high = fieller_interval(found, guess, level)
        else:
            low, high = ratio_interval(self.support, guess, t_quantile(self.num_docs - 1.0, level) ** 2)
        if self.bounds is not None:
            more = unseen_documents(self.num_docs, level) / self.num_docs
            least, most = (bound - guess for bound in self.bounds)
            low = np.minimum(low, (top + more * least) / (bottom + more * most))
            safe = bottom + more * least
            high = np.maximum(high, np.where(safe > 0, (top + more * most) / np.where(safe > 0, safe, 1.0), np.inf))
        return Interval(value, stderr, low, high)

    def inverse(self) -> Sampled:
        """See `Evidence.inverse`."""
        flip = self._replace(units=self.units._replace(student=self.units.teacher, teacher=self.units.student))
        if self.support is None:
            return flip
        return flip._replace(support=self.support._replace(student=self.support.teacher, teacher=self.support.student))

    def within_share(self, student: float, teacher: float) -> float:
        """See `Evidence.within_share`; 1 for a single task."""
        if self.within is None:
            return 1.0
        variance = float(moments(self.units).variance(student, teacher)[0])
        inner = float(self.within.variance(student, teacher)[0])
        return min(1.0, inner / variance) if variance > 0 else 1.0


def unseen_documents(num_docs: Floats, level: float) -> Floats:
    """How many documents of a kind never seen are kept possible after `num_docs` documents: about 4 at level 0.95.

    The squared critical value of t, so that the score interval keeps its own corner; at lower levels more, so that
    where all documents agree no interval is narrower than the exact binomial one (Clopper and Pearson 1934), whose
    share for n of n successes is `((1 - level) / 2) ** (1 / n)`.
    """
    tail = (1.0 - level) / 2.0
    return np.maximum(t_quantile(num_docs - 1.0, level) ** 2, num_docs * (tail ** (-1.0 / num_docs) - 1.0))


def binary_support(student: Floats, teacher: Floats, share: Floats, num_docs: Floats) -> Support:
    """The four cells of 0/1 scores.

    Args:
        student: 0 or 1, shape (R, N).
        teacher: 0 or 1, shape (R, N).
        share: Weight of every document, shape (R, N); rows sum to 1.
        num_docs: Documents, shape (R,).
    """
    cells = [((student == s) & (teacher == t)) * share for s, t in ((1, 1), (1, 0), (0, 1), (0, 0))]
    seen = np.stack([cell.sum(axis=-1) for cell in cells], axis=-1)
    shape = seen.shape
    return Support(
        student=np.broadcast_to(np.array([1.0, 1.0, 0.0, 0.0]), shape),
        teacher=np.broadcast_to(np.array([1.0, 0.0, 1.0, 0.0]), shape),
        share=seen,
        num_docs=num_docs,
    )


def real_support(student: Floats, teacher: Floats, bounds: tuple[float, float], num_docs: Floats) -> Support:
    """A point per document, and the corners of the range as points that no document has shown."""
    low, high = bounds
    rows, columns = student.shape
    corner_student = np.broadcast_to(np.array([high, high, low, low]), (rows, 4))
    corner_teacher = np.broadcast_to(np.array([high, low, high, low]), (rows, 4))
    seen = np.full((rows, columns), 1.0 / columns)
    return Support(
        student=np.concatenate([student, corner_student], axis=-1),
        teacher=np.concatenate([teacher, corner_teacher], axis=-1),
        share=np.concatenate([seen, np.zeros((rows, 4))], axis=-1),
        num_docs=num_docs,
    )


def equal_units(student: Floats, teacher: Floats) -> Units:
    """Units of equal weight; shapes (R, U)."""
    return Units(student=student, teacher=teacher, weight=np.full(student.shape, 1.0 / student.shape[-1]))


def binary_evidence(student: Floats, teacher: Floats) -> Sampled:
    """One task of 0/1 scores, shapes (R, N)."""
    units = equal_units(student, teacher)
    num_docs = np.full(student.shape[0], float(student.shape[-1]))
    if student.shape[-1] == 1:
        return Sampled(units=units, num_docs=num_docs, bounds=(0.0, 1.0))
    support = binary_support(student, teacher, units.weight, num_docs)
    return Sampled(units=units, num_docs=num_docs, support=support, bounds=(0.0, 1.0))


def real_evidence(student: Floats, teacher: Floats) -> Sampled:
    """One task of real-valued scores, shapes (R, N).

    Where few documents score differently with the two models (a text's F1, say), the sample may hold too few of the
    differences for a t interval: then the score interval over the range of the metric is used. Otherwise the
    documents show the variance, and the t interval is. The rows should be alike in this.
    """
    num_docs = np.full(student.shape[0], float(student.shape[-1]))
    units = equal_units(student, teacher)
    bounds = score_range(student, teacher)
    if student.shape[-1] == 1:
        return Sampled(units=units, num_docs=num_docs, bounds=bounds)
    changed = (student != teacher).sum(axis=-1).mean()
    if changed >= min(FEW_CHANGES, student.shape[-1] / 2):
        return Sampled(units=units, num_docs=num_docs)
    return Sampled(
        units=units, num_docs=num_docs, support=real_support(student, teacher, bounds, num_docs), bounds=bounds
    )


def score_range(student: Floats, teacher: Floats) -> tuple[float, float]:
    """The range that a document's score is taken to have: 0 to 1, or 0 to 100, or else what was seen and 0."""
    least = float(min(student.min(), teacher.min(), 0.0))
    most = float(max(student.max(), teacher.max()))
    return least, next((top for top in (1.0, 100.0) if most <= top), most)


def bits_evidence(student: Floats, teacher: Floats, num_bytes: Floats) -> Sampled:
    """One text in bits per byte: documents as units, weighted by their bytes.

    The ratio of sums `sum(bits) / sum(bytes)` is the mean of the documents' bits per byte with these weights, and the
    jackknife over documents is that of the ratio estimator (Cochran 1977, Sampling Techniques, section 6.17).

    Args:
        student: Log-likelihoods in nats, shape (R, N).
        teacher: The same of the teacher.
        num_bytes: UTF-8 bytes of each document, above 0, shape (R, N).
    """
    return nats_evidence(student / np.log(2.0), teacher / np.log(2.0), num_bytes)


def nats_evidence(student: Floats, teacher: Floats, size: Floats) -> Sampled:
    """Nats per unit of text, lower being better: documents as units, weighted by their size.

    Args:
        student: Log-likelihoods, shape (R, N).
        teacher: The same of the teacher.
        size: Of each document, in bytes, words or whatever the nats are counted by; above 0, shape (R, N).
    """
    weight = size / size.sum(axis=-1, keepdims=True)
    units = Units(student=-student / size, teacher=-teacher / size, weight=weight)
    return Sampled(units=units, num_docs=1.0 / (weight**2).sum(axis=-1))


def group_evidence(tasks: Sequence[Sampled], weight: Floats) -> Sampled:
    """A group: the weighted mean of its tasks' scores, with the tasks as units.

    Args:
        tasks: One per task, each with the same R.
        weight: Of every task, shape (G,); sums to 1.
    """
    parts = [moments(task.units) for task in tasks]
    shape = (parts[0].student.shape[0], len(tasks))
    units = Units(
        student=np.stack([part.student for part in parts], axis=-1),
        teacher=np.stack([part.teacher for part in parts], axis=-1),
        weight=np.broadcast_to(weight, shape),
    )
    ranges = [task.bounds for task in tasks if task.bounds is not None]
    known = len(ranges) == len(tasks)
    return Sampled(
        units=units,
        num_docs=effective_docs(weight, [task.num_docs for task in tasks]),
        bounds=(min(low for low, _ in ranges), max(high for _, high in ranges)) if known else None,
        within=_within(parts, weight),
    )


def effective_docs(weight: Floats, num_docs: Sequence[Floats]) -> Floats:
    """The number of equally weighted documents that would say as much (Kish 1965, Survey Sampling, section 11.7)."""
    return np.asarray(1.0 / sum(w * w / docs for w, docs in zip(weight, num_docs, strict=True)))


def _within(parts: Sequence[Moments], weight: Floats) -> Moments:
    """The moments of the weighted mean if the tasks were fixed and only their documents varied."""
    means = [sum(w * field for w, field in zip(weight, fields, strict=True)) for fields in zip(*parts, strict=True)]
    variances = [
        sum(w * w * field for w, field in zip(weight, fields, strict=True)) for fields in zip(*parts, strict=True)
    ]
    return Moments(*(np.asarray(x) for x in (*means[:2], *variances[2:5], np.full_like(parts[0].df, np.inf))))
