"""What the curves of a training say, and what to change: pure functions of the log."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from distill_eval.schema.distill import Point, Validation
from distill_eval.schema.retention import Finding

LEARNS = 0.01
"""Share by which validation loss has to fall for a student to have learnt anything."""
APART = 0.05
"""Share by which the validation KL rises above its lowest while training still improves: the student memorizes."""
EXPLODES = 20.0
"""A gradient norm this many times the median of the run is an explosion."""
CERTAIN = 0.1
"""Nats: below this entropy a teacher's distribution is a hard label, at its temperature."""


def diagnose(
    curve: Sequence[Point], *, before: Validation, after: Validation, teacher: Validation | None
) -> tuple[Finding, ...]:
    """Findings about a run, each with the value seen and what to change; possibly none.

    Args:
        curve: The log, validations included, in the order of the steps.
        before: The student's validation before training.
        after: And after it.
        teacher: The teacher's own, if there is one.
    """
    found = [
        _bad_teacher(before, teacher),
        _certain_teacher(after),
        _does_not_learn(before, after),
        _memorizes(curve),
        _soft_stalls(curve),
        _explodes(curve),
    ]
    return tuple(finding for finding in found if finding is not None)


def _finding(weight: str, text: str) -> Finding:
    return Finding(weight=weight, subject="training", text=text)  # type: ignore[arg-type]


def _bad_teacher(before: Validation, teacher: Validation | None) -> Finding | None:
    if teacher is None:
        return None
    what, theirs, ours = "perplexity", teacher.perplexity, before.perplexity
    if teacher.bits_per_byte is not None and before.bits_per_byte is not None:  # tokens of two kinds do not compare
        what, theirs, ours = "bits per byte", teacher.bits_per_byte, before.bits_per_byte
    if teacher.accuracy is not None and before.accuracy is not None:
        return None if teacher.accuracy > before.accuracy else _untrained(teacher.accuracy, before.accuracy)
    if theirs < ours:
        return None
    return _finding(
        "high",
        f"The teacher's {what} on the validation text is {theirs:.2f}, not below the student's "
        f"{ours:.2f} before training: it has nothing to teach here. Take text that the teacher knows.",
    )


def _untrained(theirs: float, ours: float) -> Finding:
    return _finding(
        "high",
        f"The teacher's accuracy on the validation texts is {theirs:.4f}, not above the student's {ours:.4f} before "
        "training: it has nothing to teach here. Train the teacher on these labels first.",
    )


def _certain_teacher(after: Validation) -> Finding | None:
    entropy = after.teacher_entropy
    if entropy is None or entropy >= CERTAIN:
        return None
    return _finding(
        "medium",
        f"The teacher's distributions have an entropy of {entropy:.3f} nats at this temperature: almost hard labels. "
        "Raise --temperature.",
    )


def _does_not_learn(before: Validation, after: Validation) -> Finding | None:
    fall = (before.hard_loss - after.hard_loss) / before.hard_loss
    surer = before.accuracy is not None and after.accuracy is not None and after.accuracy > before.accuracy
    if fall >= LEARNS or surer:
        return None
    return _finding(
        "high",
        f"The validation loss went from {before.hard_loss:.3f} to {after.hard_loss:.3f} nats per {after.unit}: the "
        "student did not learn. Raise --learning-rate, train for more --steps, or take data like the validation data.",
    )


def _memorizes(curve: Sequence[Point]) -> Finding | None:
    soft, kl = _values(curve, "soft_loss"), _values(curve, "eval_kl")
    if len(kl) < 3 or len(soft) < 4 or kl[-1] <= min(kl) * (1 + APART):
        return None
    half = len(soft) // 2
    if statistics.mean(soft[half:]) >= statistics.mean(soft[:half]):
        return None
    return _finding(
        "medium",
        f"On the validation text the KL to the teacher rose from {min(kl):.3f} to {kl[-1]:.3f} nats while it "
        "still fell on the training text: the student copies the teacher on text it has seen. Use more data, or stop "
        "earlier with --patience.",
    )


def _soft_stalls(curve: Sequence[Point]) -> Finding | None:
    soft, hard = _values(curve, "soft_loss"), _values(curve, "hard_loss")
    if len(soft) < 6 or len(hard) < 6:
        return None
    third = len(soft) // 3
    early, late = statistics.mean(soft[third : 2 * third]), statistics.mean(soft[-third:])
    hard_early, hard_late = statistics.mean(hard[third : 2 * third]), statistics.mean(hard[-third:])
    if late < early * (1 - LEARNS) or hard_late <= hard_early * (1 + LEARNS):
        return None
    return _finding(
        "medium",
        f"In the last third of the training the soft loss stayed at {late:.3f} while the hard loss rose from "
        f"{hard_early:.3f} to {hard_late:.3f} nats: the two terms pull apart. Lower --alpha or --learning-rate.",
    )


def _explodes(curve: Sequence[Point]) -> Finding | None:
    norms = [norm for norm in _values(curve, "grad_norm") if math.isfinite(norm)]
    if len(norms) < 5 or max(norms) < EXPLODES * statistics.median(norms):
        return None
    return _finding(
        "medium",
        f"The gradient norm reached {max(norms):.1f}, {max(norms) / statistics.median(norms):.0f} times its median of "
        f"{statistics.median(norms):.2f}. Lower --learning-rate, or raise --warmup.",
    )


def _values(curve: Sequence[Point], name: str) -> list[float]:
    return [point.values[name] for point in curve if name in point.values]
