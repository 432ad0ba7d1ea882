"""Perplexities under their own names: `exp` of the nats per document, word or byte.

The intervals are made of the nats, which are means over documents, and carried over: by `exp` for one perplexity and
for a ratio of two, by its slope (the delta method) for other contrasts. No verdict rests on them: see `groups.BITS`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from distill_eval.compare.evidence import Interval, Sampled
from distill_eval.compare.units import moments


class Perplexities(NamedTuple):
    """Evidence about two perplexities, for one comparison (R = 1)."""

    nats: Sampled
    """Mean nats of each model."""

    def linear(self, student: float, teacher: float, level: float) -> Interval:
        """See `Evidence.linear`."""
        found = moments(self.nats.units)
        of_student, of_teacher = student * np.exp(found.student), teacher * np.exp(found.teacher)
        value = of_student + of_teacher
        slope = self.nats.linear(float(of_student[0]), float(of_teacher[0]), level)
        low, high = value + slope.low - slope.value, value + slope.high - slope.value
        if student == 0.0 or teacher == 0.0:
            alone = self.nats.linear(float(student != 0.0), float(teacher != 0.0), level)
            with np.errstate(over="ignore"):
                ends = [(student + teacher) * np.exp(end) for end in (alone.low, alone.high)]
            low, high = np.minimum(*ends), np.maximum(*ends)
        return Interval(value, slope.stderr, low, high)

    def ratio(self, chance: float, level: float) -> Interval:  # noqa: ARG002 - part of Evidence
        """See `Evidence.ratio`; guessing has no perplexity."""
        found = self.nats.linear(1.0, -1.0, level)
        with np.errstate(over="ignore"):
            value, low, high = (np.exp(part) for part in (found.value, found.low, found.high))
            return Interval(value, value * found.stderr, low, high)

    def inverse(self) -> Perplexities:
        """See `Evidence.inverse`."""
        return Perplexities(self.nats.inverse())

    def within_share(self, student: float, teacher: float) -> float:  # noqa: ARG002 - part of Evidence
        """See `Evidence.within_share`."""
        return 1.0
