"""Metrics that are a function of all documents together, by the paired bootstrap over documents.

A document is a row (gold, one model's answer, another's ...). Only the counts of equal rows matter, so one resample is
one multinomial draw and the order of the documents does not. Intervals are percentile intervals, taken
somewhat further out in the tails so that they are right for a mean of few documents too (Hesterberg 2015, The American
Statistician 69:371-386, section 4.3, "expanded percentile interval").
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from distill_eval.compare.evidence import Interval, unseen_documents
from distill_eval.compare.units import t_quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]

NUM_RESAMPLES = 9_999
"""(this + 1) * 0.025 is whole, so that percentiles are order statistics (Davison and Hinkley 1997, section 2.4)."""

MAX_LABELS = 20
"""More distinct answers than this are free text, which no confusion matrix describes."""


def mcc(confusion: Floats) -> Floats:
    """Matthews' correlation of confusion matrices (..., gold, answer), as lm-eval takes it from scikit-learn.

    The form for any number of classes (Gorodkin 2004, Computational Biology and Chemistry 28:367-374); 0 where gold
    or answers are all of one class.
    """
    gold, answer = confusion.sum(axis=-1), confusion.sum(axis=-2)
    total = gold.sum(axis=-1)
    right = np.trace(confusion, axis1=-2, axis2=-1)
    square = (total**2 - (gold**2).sum(axis=-1)) * (total**2 - (answer**2).sum(axis=-1))
    covariance = right * total - (gold * answer).sum(axis=-1)
    return np.where(square > 0, covariance / np.sqrt(np.where(square > 0, square, 1.0)), 0.0)


def f1(confusion: Floats) -> Floats:
    """F1 of class 1 of 2x2 confusion matrices (..., gold, answer), as scikit-learn has it; 0 where undefined."""
    right = confusion[..., 1, 1]
    either = confusion[..., 1, :].sum(axis=-1) + confusion[..., :, 1].sum(axis=-1)
    return np.where(either > 0, 2.0 * right / np.where(either > 0, either, 1.0), 0.0)


STATISTICS: dict[str, Statistic] = {"matthews_corrcoef": mcc, "mcc": mcc, "f1": f1}
"""The aggregations that are understood, by lm-eval's name (lm_eval/api/metrics.py)."""


class Resampled(NamedTuple):
    """Evidence from resampling: the observed scores, the resampled ones, and those after a few documents more."""

    num_docs: float
    """Documents."""
    observed: tuple[float, float]
    """Student's and teacher's score."""
    student: Floats
    """Shape (resamples,)."""
    teacher: Floats
    extended: Floats
    """Shape (kinds of document, 2): student's and teacher's score, had a few more documents all been of that kind."""

    def linear(self, student: float, teacher: float, level: float) -> Interval:
        """See `Evidence.linear`."""
        values = student * self.student + teacher * self.teacher
        more = self.extended @ np.array([student, teacher])
        return self._interval(student * self.observed[0] + teacher * self.observed[1], values, more, level)

    def ratio(self, chance: float, level: float) -> Interval:
        """See `Evidence.ratio`; NaN where the teacher's score is not above chance, unbounded where it may not be."""
        top, bottom = self.observed[0] - chance, self.observed[1] - chance
        if bottom <= 0:
            undefined = np.array([np.nan])
            return Interval(undefined, undefined, undefined, undefined)
        below = (self.teacher <= chance).mean() > (1.0 - level) / 2.0 or (self.extended[:, 1] <= chance).any()
        if below:
            return Interval(np.array([top / bottom]), np.array([np.nan]), np.array([-np.inf]), np.array([np.inf]))
        kept = self.teacher > chance
        values = (self.student[kept] - chance) / (self.teacher[kept] - chance)
        more = (self.extended[:, 0] - chance) / (self.extended[:, 1] - chance)
        return self._interval(top / bottom, values, more, level)

    def _interval(self, value: float, values: Floats, more: Floats, level: float) -> Interval:
        """Percentile interval of `values`, held open to what a few more documents could do."""
        from scipy.special import ndtr

        if self.num_docs > 1:
            far = t_quantile(np.array(self.num_docs - 1.0), level) * np.sqrt(self.num_docs / (self.num_docs - 1.0))
            low, high = np.quantile(values, [ndtr(-far), ndtr(far)])
        else:
            low, high = -np.inf, np.inf
        ends = (value, values.std(ddof=1), min(low, more.min()), max(high, more.max()))
        return Interval(*(np.array([end], dtype=np.float64) for end in ends))

    def inverse(self) -> Resampled:
        """See `Evidence.inverse`."""
        return Resampled(self.num_docs, self.observed[::-1], self.teacher, self.student, self.extended[:, ::-1])

    def within_share(self, student: float, teacher: float) -> float:  # noqa: ARG002 - part of Evidence
        """See `Evidence.within_share`."""
        return 1.0

    def p_value(self) -> float:
        """Two-sided bootstrap p-value of no difference: twice the smaller share of resamples on either side of it."""
        difference = self.student - self.teacher
        side = min((difference <= 0).sum(), (difference >= 0).sum())
        return float(min(1.0, 2.0 * (side + 1) / (difference.size + 1)))


class Scores(NamedTuple):
    """One model's score: as observed, per resample, and had a few more documents been of one kind."""

    observed: float
    resampled: Floats
    """Shape (resamples,)."""
    extended: Floats
    """Shape (gold, answer)."""


def resample(
    items: Sequence[tuple[str, str]],
    aggregation: str,
    *,
    level: float,
    rng: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
) -> Resampled | str:
    """Bootstrap a corpus metric.

    Args:
        items: Per document, the teacher's and the student's item, each JSON `[gold, answer]`.
        aggregation: lm-eval's name.
        level: Of the intervals that will be asked for; it fixes how many unseen documents are kept possible.
        rng: The only source of randomness.
        num_resamples: How many resamples; simulations use fewer.

    Returns:
        The evidence, or why there is none.
    """
    scores = resample_models(items, aggregation, level=level, rng=rng, num_resamples=num_resamples)
    if isinstance(scores, str):
        return scores
    teacher, student = scores
    return Resampled(
        num_docs=float(len(items)),
        observed=(student.observed, teacher.observed),
        student=student.resampled,
        teacher=teacher.resampled,
        extended=np.stack(kinds_of_document([student.extended, teacher.extended]), axis=-1),
    )


def kinds_of_document(extended: Sequence[Floats]) -> list[Floats]:
    """The models' `Scores.extended` for every kind of document: one gold label and one answer of each model."""
    size, num_models = len(extended[0]), len(extended)
    gold, *answers = np.indices((size,) * (num_models + 1)).reshape(num_models + 1, -1)
    return [score[gold, answer] for score, answer in zip(extended, answers, strict=True)]


def resample_models(
    items: Sequence[Sequence[str]],
    aggregation: str,
    *,
    level: float,
    rng: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
) -> list[Scores] | str:
    """The scores of any number of models on the same resamples; see `resample`.

    Args:
        items: Per document, one item of each model.
        aggregation: lm-eval's name.
        level: As in `resample`.
        rng: The only source of randomness.
        num_resamples: How many.
    """
    if aggregation not in STATISTICS:
        known = ", ".join(sorted(STATISTICS))
        return f"the aggregation {aggregation} is not one whose uncertainty is known ({known})"
    read = [[json.loads(item) for item in document] for document in items]
    if not all(isinstance(one, list) and len(one) == 2 and _scalars(one) for document in read for one in document):
        return "its documents are not pairs of a gold label and an answer"
    rows = [(document[0][0], *(answer for _, answer in document)) for document in read]
    labels = sorted({label for row in rows for label in row}, key=lambda label: (str(type(label)), label))
    if aggregation == "f1":
        if not set(labels) <= {0, 1}:
            return f"f1 is known for the answers 0 and 1 only, not for {labels[:5]}"
        labels = [0, 1]
    if len(labels) > MAX_LABELS:
        return f"{len(labels)} distinct answers are more than the {MAX_LABELS} of a classification"
    return _bootstrap(rows, labels, STATISTICS[aggregation], level, rng, num_resamples)


def _scalars(pair: list[Any]) -> bool:
    return all(value is None or isinstance(value, (str, int, float)) for value in pair)


def _bootstrap(
    rows: Sequence[tuple[Any, ...]],
    labels: list[Any],
    statistic: Statistic,
    level: float,
    rng: np.random.Generator,
    num_resamples: int,
) -> list[Scores]:
    place = {label: index for index, label in enumerate(labels)}
    size, num_docs = len(labels), len(rows)
    seen = Counter(tuple(place[label] for label in row) for row in rows)
    cells = np.array(sorted(seen))
    counts = np.array([seen[tuple(cell)] for cell in cells.tolist()], dtype=np.float64)
    one_hot = np.eye(size * size)
    draws = rng.multinomial(num_docs, counts / num_docs, size=num_resamples)
    more = unseen_documents(np.array([float(num_docs)]), level)[0] if num_docs > 1 else np.inf

    def scores(answer: NDArray[np.intp]) -> Scores:
        cell = one_hot[cells[:, 0] * size + answer]
        table = counts @ cell
        extended = one_hot if np.isinf(more) else table + more * one_hot
        shaped = (part.reshape(-1, size, size) for part in (table, draws @ cell, extended))
        observed, resampled, after = (statistic(part) for part in shaped)
        return Scores(float(observed[0]), resampled, after.reshape(size, size))

    return [scores(answers) for answers in cells[:, 1:].T]
