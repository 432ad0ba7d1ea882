"""What a student is expected to keep, by a rule, by published results and by the reader's own runs; never mixed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from distill_eval.errors import require
from distill_eval.plan.anchors import anchors
from distill_eval.plan.expected import by_anchors, fit_text
from distill_eval.plan.fit import LEVEL, Fit, ordinary, predicted
from distill_eval.record import digits, record
from distill_eval.schema.plan import Figure, Method, Retained
from distill_eval.schema.retention import Retention

RULE = "https://numbervibe.com/calculators/machine-learning/model-distillation-calculator"
LAMBDA = 0.216
"""Of the rule. The page that publishes it has one example, 70B to 8B: 91.9 % kept, which is 0.216 with log2."""
POINTS = 12.0
"""Percent per lambda and halving."""
BASE_TOKENS = 5e9
"""Of the rule's training tokens; the same example has 6.88 billion, which is 5 * (1 + 0.4 * log10(8.75))."""


@record
class OwnRun:
    """One student of a finished run of the reader."""

    compression: float
    retention: float
    source: str
    """The student and the artifact that it was read from."""


def retained(compression: float, method: Method, own: Sequence[OwnRun], *, fine_tuned: bool = False) -> Retained:
    """The three estimates for one student, and the training tokens of the rule.

    Args:
        compression: Parameters of the teacher over those of the student.
        method: Of the distillation.
        own: The reader's finished runs.
        fine_tuned: Both are fine-tuned on the tasks that are compared, as classifiers are; else they are prompted.

    Raises:
        UsageError: the student is larger than its teacher.
    """
    require(compression >= 1, f"a compression of {compression}: expected 1 or more, a student is not above its teacher")
    return Retained(
        rule=_rule(compression),
        fit=by_anchors(compression, method, fine_tuned=fine_tuned),
        fit_text=fit_text(),
        own=_of_own_runs(compression, own),
        tokens=_tokens(compression),
        anchors=anchors(),
        fine_tuned=fine_tuned,
    )


def rule_retention(compression: float, lambda_: float) -> float:
    """1 - lambda * 12 * log2(r) / 100, not below 0."""
    return max(0.0, 1.0 - lambda_ * POINTS * math.log2(compression) / 100.0)


def rule_tokens(compression: float) -> float:
    """5e9 * (1 + 0.4 * log2(r))."""
    return BASE_TOKENS * (1.0 + 0.4 * math.log2(compression))


def _rule(compression: float) -> Figure:
    source = (
        f"a planner's rule of thumb, 100 - lambda * {POINTS:g} * log2(r) percent with lambda {LAMBDA}, whatever the "
        f"method, with no data behind it. Published with log10, the same line for another lambda: {RULE}"
    )
    value = digits(rule_retention(compression, LAMBDA))
    return Figure(name="retained.rule", value=value, unit="share", basis="estimate", source=source)


def _tokens(compression: float) -> Figure:
    published = BASE_TOKENS * (1.0 + 0.4 * math.log10(compression))
    return Figure(
        name="retained.tokens",
        value=digits(rule_tokens(compression)),
        unit="tokens",
        low=digits(published),
        high=digits(rule_tokens(compression)),
        basis="estimate",
        source=(
            "a planner's rule of thumb, 5 billion * (1 + 0.4 * log2(r)), whatever the model; the lower end is the rule "
            f"as published, with log10: {RULE}"
        ),
    )


# ---- the reader's own runs


def own_runs(found: Mapping[str, Retention]) -> tuple[OwnRun, ...]:
    """The smaller students of finished comparisons, each once.

    Quantized variants have their teacher's parameters and say nothing of a size; a student whose parameters or whose
    mean retention are not known is left out too. Whether a student was distilled its comparison does not tell.

    Args:
        found: By the path of `retention.json`.
    """
    runs: dict[str, OwnRun] = {}
    for path, one in found.items():
        teacher = one.teacher.num_parameters
        kept = {verdict.student_ref: verdict.mean_retention for verdict in one.verdicts}
        for student in one.students:
            mine, share = student.num_parameters, kept.get(student.ref)
            if teacher is None or mine is None or share is None or student.quantization is not None or mine >= teacher:
                continue
            run = OwnRun(compression=teacher / mine, retention=share, source=f"{student.ref} in {path}")
            runs.setdefault(student.weights_digest, run)
    return tuple(runs.values())


def own_fit(own: Sequence[OwnRun]) -> Fit:
    """The rule's line through (1, 100 %), its slope fitted: lambda * 12 percent per halving."""
    return ordinary([[POINTS * math.log2(run.compression)] for run in own], [100 * (1 - run.retention) for run in own])


def _of_own_runs(compression: float, own: Sequence[OwnRun]) -> Figure:
    value = low = high = None
    if len(own) < 2:
        have = f"one run of a smaller student ({own[0].source})" if own else "no run of a smaller student"
        source = f"{have}: a spread needs two or more; name their folders with --runs FOLDER,FOLDER"
    else:
        fit = own_fit(own)
        lost, half = predicted([POINTS * math.log2(compression)], fit)
        value, low, high = (digits(max(0.0, 1 - one / 100)) for one in (lost, lost + half, lost - half))
        most = max(run.compression for run in own)
        beyond = f"; the smallest of them is {most:.3g} times smaller, beyond which the rule's form alone carries"
        source = (
            f"the rule with lambda {fit.coefficients[0]:.3g} +- {fit.stderr(0):.2g} (standard error) fitted to "
            f"{len(own)} runs, with the {100 * LEVEL:.0f} % prediction interval of one more: "
            + ", ".join(run.source for run in own)
            + (beyond if compression > most else "")
        )
    return Figure(name="retained.own", value=value, low=low, high=high, unit="share", basis="estimate", source=source)
