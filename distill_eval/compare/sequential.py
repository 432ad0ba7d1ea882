"""Intervals that hold at every look: confidence sequences for the means of bounded paired scores.

Somebody who looks after every block of documents and stops when the verdict holds needs an interval that holds the
truth at all looks together. That is what betting gives (Waudby-Smith and Ramdas 2024, JRSS-B 86:1-27, arXiv
2010.09686): for a mean m of scores x in [a, b], what 1 becomes by betting a fixed share f of the most that may be bet
on "more than m",

    K(m) = product over documents of 1 + f * (x - m) / (m - a),

reaches c, at any time, with a probability of at most 1 / c (Ville 1939). Bets of several sizes are averaged (the
paper's diversified Kelly); as none depends on what came before, the order inside a block does not matter. The interval
is what neither side has won enough against: the means m that are not refuted.

At the last document a share of the error (`FINAL_SHARE`), which the looks have not spent, buys one interval of the
usual kind. Which bets and which share: measured by benchmarks/adaptive.py, in docs/design/statistics.md.

Shapes: R comparisons (a simulation passes thousands), L looks, U distinct documents, B bets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from distill_eval.compare.evidence import Interval, Sampled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ends = tuple[Floats, Floats]
    Refuted = Callable[[Floats], NDArray[np.bool_]]

FINAL_SHARE = 0.35
"""Of the error: kept for the interval at the last document."""
NUM_BETS = 16
LARGEST_BET = 0.98
"""Of the most that may be bet: no single document ruins."""
USUAL_VARIANCE = 0.2
"""Of a contrast of two 0/1 scores: about their discordance. It chooses the smallest bet; no validity rests on it."""
HALVINGS = 40
DOUBLINGS = 30
"""A ratio beyond 2 ** 30 has no bound."""


class Taken(NamedTuple):
    """The scores of both models on the documents taken so far, equal documents together."""

    student: Floats
    """Shape (U,)."""
    teacher: Floats
    """Shape (U,)."""
    weight: Floats
    """What each counts in the mean, 1 on average over all documents that there are; shape (U,)."""
    counts: Floats
    """How many of each had been taken by each look; shape (R, L, U)."""
    bounds: tuple[float, float]
    """The least and the most that a document can score."""
    num_docs_total: int
    """Documents that there are; chooses the smallest bet, as `USUAL_VARIANCE` does."""

    def contrast(
        self, student: float, teacher: float | Floats, offset: float | Floats = 0.0
    ) -> tuple[Floats, Floats, Floats]:
        """`student * s + teacher * t + offset` of every document, weighted; the least and the most that it can be.

        Args:
            student: Coefficient of the student's score.
            teacher: Coefficient of the teacher's score; a number, or of shape (R, 1).
            offset: Added to every document's; as `teacher`.
        """
        corners = [student * s + teacher * t + offset for s in self.bounds for t in self.bounds]
        ends = np.stack([np.asarray(w * corner) for w in (self.weight.min(), self.weight.max()) for corner in corners])
        value = self.weight * (student * self.student + teacher * self.teacher + offset)
        return value, ends.min(axis=0), ends.max(axis=0)


def bets(num_docs_total: int, level: float) -> Floats:
    """The sizes of the bets, as shares of the most that may be bet: equally many at each order of magnitude.

    The smallest is the best one for the smallest effect that so many documents can show.
    """
    smallest = math.sqrt(2.0 * math.log(2.0 / (1.0 - level)) / (USUAL_VARIANCE * num_docs_total))
    return np.geomspace(min(smallest, 0.5), LARGEST_BET, NUM_BETS)


def log_capital(counts: Floats, value: Floats, least: Floats, sizes: Floats) -> Floats:
    """Logarithm of what 1 has become by betting that the mean of `value` is above 0.

    Args:
        counts: How many documents have each value, shape (..., U).
        value: Shape (U,), or one row for each of the counts.
        least: The least that a value can be, at most 0; a number, or shape (..., 1).
        sizes: Of the bets, shape (B,).

    Returns:
        Shape (...).
    """
    growth = np.log1p(sizes * (value / np.maximum(-least, 1e-12))[..., None])
    won = counts @ growth if growth.ndim == 2 else (counts[..., None] * growth).sum(axis=-2)
    return np.asarray(np.logaddexp.reduce(won, axis=-1) - math.log(len(sizes)))


def capitals(taken: Taken, student: float, teacher: float, level: float, *, offset: float = 0.0) -> Ends:
    """Log capitals against a contrast whose mean is 0: of betting on more, and on less; each of shape (R, L)."""
    value, least, most = taken.contrast(student, teacher, offset)
    sizes = bets(taken.num_docs_total, level)
    return log_capital(taken.counts, value, least, sizes), log_capital(taken.counts, -value, -most, sizes)


def refuting(level: float) -> float:
    """The log capital that refutes a mean, on one side of two, with what the last interval leaves of the error."""
    return math.log(2.0 / ((1.0 - level) * (1.0 - FINAL_SHARE)))


def final_level(level: float) -> float:
    """The level of the interval of the usual kind at the last document."""
    return 1.0 - (1.0 - level) * FINAL_SHARE


class AfterLooks(NamedTuple):
    """Evidence whose intervals hold the truth at all looks together; see `evidence.Evidence`."""

    taken: Taken
    usual: Sampled
    """The same documents as if their number had been fixed before: values and standard errors are its."""
    exhausted: bool
    """Whether the last look had all documents that there are."""

    def linear(self, student: float, teacher: float, level: float) -> Interval:
        """See `Evidence.linear`."""
        value, least, most = self.taken.contrast(student, teacher)
        sizes = bets(self.taken.num_docs_total, level)

        def ends(counts: Floats) -> Ends:
            mean = (counts @ value) / counts.sum(axis=-1)
            low = _edge(
                mean,
                np.full_like(mean, least),
                lambda m: log_capital(counts, value - m[:, None], least - m[:, None], sizes) > refuting(level),
            )
            high = _edge(
                mean,
                np.full_like(mean, most),
                lambda m: log_capital(counts, m[:, None] - value, m[:, None] - most, sizes) > refuting(level),
            )
            return low, high

        return self._interval(ends, lambda evidence, at: evidence.linear(student, teacher, at), level)

    def ratio(self, chance: float, level: float) -> Interval:
        """See `Evidence.ratio`: the ratios r for which a mean of 0 of `(s - chance) - r * (t - chance)` stands."""
        taken, sizes = self.taken, bets(self.taken.num_docs_total, level)

        def refuted(counts: Floats, sign: float) -> Refuted:
            def against(ratio: Floats) -> NDArray[np.bool_]:
                r = ratio[:, None]
                value, least, most = taken.contrast(1.0, -r, chance * (r - 1.0))
                found = log_capital(counts, sign * value, least if sign > 0 else -most, sizes) > refuting(level)
                return np.asarray(found)

            return against

        def ends(counts: Floats) -> Ends:
            top, bottom = ((counts * taken.weight) @ (side - chance) for side in (taken.student, taken.teacher))
            defined = bottom > 0
            middle = np.where(defined, top / np.where(defined, bottom, 1.0), 0.0)
            low, high = (
                np.where(defined, _edge(middle, _far(middle, -sign, against), against), -sign * np.inf)
                for sign, against in ((sign, refuted(counts, sign)) for sign in (1.0, -1.0))
            )
            return low, high

        return self._interval(ends, lambda evidence, at: evidence.ratio(chance, at), level)

    def inverse(self) -> AfterLooks:
        """See `Evidence.inverse`."""
        taken = self.taken._replace(student=self.taken.teacher, teacher=self.taken.student)
        return self._replace(taken=taken, usual=self.usual.inverse())

    def within_share(self, student: float, teacher: float) -> float:
        """See `Evidence.within_share`."""
        return self.usual.within_share(student, teacher)

    def until(self, num_looks: int) -> AfterLooks:
        """What was known after so many looks."""
        counts = self.taken.counts[:, :num_looks]
        last = counts.shape[1] == self.taken.counts.shape[1]
        return self._replace(taken=self.taken._replace(counts=counts), exhausted=self.exhausted and last)

    def p_value(self, level: float) -> float:
        """P-value of no difference that holds at whichever look it is read; at the last document with the usual test's.

        One over the larger capital of two that share the stake (Ville 1939); the two tests share the error as the
        intervals do.
        """
        won = np.logaddexp(*capitals(self.taken, 1.0, -1.0, level)) - math.log(2.0)
        return float(min(1.0, math.exp(-won.max()) / (1.0 - FINAL_SHARE)))

    def _interval(
        self, ends: Callable[[Floats], Ends], usual: Callable[[Sampled, float], Interval], level: float
    ) -> Interval:
        found, shape = usual(self.usual, level), self.taken.counts.shape
        low, high = ends(self.taken.counts.reshape(-1, shape[-1]))  # a look is as good as a comparison
        looks = list(zip(low.reshape(shape[:2]).T, high.reshape(shape[:2]).T, strict=True))
        if self.exhausted:
            last = usual(self.usual, final_level(level))
            looks.append((np.nan_to_num(last.low, nan=-np.inf), np.nan_to_num(last.high, nan=np.inf)))
        return Interval(found.value, found.stderr, *_intersection(looks))


def _intersection(looks: Sequence[Ends]) -> Ends:
    """What all looks leave; one that would leave nothing is left out, so that what once was shown stays."""
    low, high = (np.full_like(end, side) for end, side in zip(looks[0], (-np.inf, np.inf), strict=True))
    for new_low, new_high in looks:
        both = np.maximum(low, new_low) <= np.minimum(high, new_high)
        low, high = np.where(both, np.maximum(low, new_low), low), np.where(both, np.minimum(high, new_high), high)
    return low, high


def _edge(inside: Floats, outside: Floats, refuted: Refuted) -> Floats:
    """Where `refuted` begins between a value that stands and one beyond; that one itself where nothing is refuted."""
    for _ in range(HALVINGS):
        middle = np.where(np.isfinite(outside), 0.5 * (inside + outside), inside)
        gone = refuted(middle)
        inside, outside = np.where(gone, inside, middle), np.where(gone, middle, outside)
    return outside


def _far(start: Floats, sign: float, refuted: Refuted) -> Floats:
    """A refuted ratio in the direction of the sign; infinite where there is none."""
    far, found = start + sign, np.zeros(start.shape, dtype=bool)
    for doubling in range(DOUBLINGS):
        found |= refuted(far)
        if found.all():
            return far
        far = np.where(found, far, start + sign * 2.0 ** (doubling + 1))
    return np.where(found, far, sign * np.inf)
