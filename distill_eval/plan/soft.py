"""Softened distributions of a few logits, in plain Python: what a temperature does to them, to be looked at.

`distill_eval.distill.divergence` has the same for whole vocabularies, with torch; a test holds this against it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def softened(logits: Sequence[float], temperature: float) -> list[float]:
    """Probabilities at a temperature: softmax(z / T) (Hinton et al. 2015, section 2)."""
    most = max(logits)
    powers = [math.exp((one - most) / temperature) for one in logits]
    total = sum(powers)
    return [one / total for one in powers]


def entropy(probabilities: Sequence[float]) -> float:
    """In nats: 0 of a certain answer, the logarithm of their number where all are alike."""
    return -sum([one * math.log(one) for one in probabilities if one > 0])


def dark_share(probabilities: Sequence[float]) -> float:
    """The share of what is not the most probable answer, which a hard label does not have: "dark knowledge"."""
    return 1.0 - max(probabilities)


def divergence(teacher: Sequence[float], student: Sequence[float], temperature: float) -> float:
    """KL(teacher || student) of softened logits, in nats, not yet times T^2."""
    total = 0.0
    pairs = zip(softened(teacher, temperature), softened(student, temperature), strict=True)
    for p, q in pairs:
        if p > 0:
            total += p * (math.log(p) - math.log(q))
    return total


def soft_loss(teacher: Sequence[float], student: Sequence[float], temperature: float) -> float:
    """The soft term of distillation, T^2 * KL: its gradients keep their size when the temperature changes."""
    return temperature**2 * divergence(teacher, student, temperature)
