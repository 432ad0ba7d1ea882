"""The bounds that a command line or a recipe sets, and who hears of the verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from distill_eval.errors import UsageError, require, unknown
from distill_eval.record import record
from distill_eval.schema.gate import Rule, RuleName

JUDGED_BY: dict[RuleName, tuple[str, ...]] = {
    "min-retention": ("compare", "report"),
    "margin": ("compare", "report"),
    "max-size-ratio": ("compare", "report"),
    "min-speedup": ("report",),
    "max-harmful-flips": ("compare", "report"),
    "max-regression": ("diff",),
}
"""The commands that have what a rule needs."""
EXAMPLES = {
    "compare": "distill-eval compare --teacher TEACHER --student STUDENT --tasks TASKS",
    "report": "distill-eval report RUN",
    "diff": "distill-eval diff BEFORE AFTER",
}


@record
class GateOptions:
    """Bounds, each judged by its whole interval."""

    max_size_ratio: float | None = None
    """Rule: bytes of the student's weights over the teacher's, at most this, e.g. 0.5."""
    min_speedup: float | None = None
    """Rule: output throughput over the teacher's under every load but those of a set rate of requests, at least this,
    e.g. 1.5."""
    max_harmful_flips: float | None = None
    """Rule: share of a task's documents that the teacher got right and the student wrong, at most this, e.g. 0.02."""
    max_regression: float | None = None
    """Rule of diff: loss against the student before, in the metric's own unit, at most this, e.g. 0.01."""
    rule: tuple[str, ...] = ()
    """Another bound for one task, or one load: TASK:RULE=BOUND, e.g. mmlu:min-retention=0.9."""

    def __post_init__(self) -> None:
        rules = self.rules
        for rule in rules:
            _check_bound(rule)
        places = [(rule.name, rule.where) for rule in rules]
        for name, where in places:
            require(places.count((name, where)) == 1, f"--rule sets {name} of {where} twice: keep one")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What is asked for, the bounds of single places last.

        Raises:
            UsageError: a rule cannot be read.
        """
        general: dict[RuleName, float | None] = {
            "max-size-ratio": self.max_size_ratio,
            "min-speedup": self.min_speedup,
            "max-harmful-flips": self.max_harmful_flips,
            "max-regression": self.max_regression,
        }
        everywhere = [Rule(name=name, bound=bound) for name, bound in general.items() if bound is not None]
        return (*everywhere, *(_parse(text) for text in _joined(self.rule)))

    def check(self, command: str) -> None:
        """Refuse a rule that this command cannot judge.

        Raises:
            UsageError: another command can, which is named.
        """
        for rule in self.rules:
            can = JUDGED_BY[rule.name]
            require(
                command in can,
                f"--{said(rule)}: {command} does not measure what this rule is about. Type it with {EXAMPLES[can[0]]}",
            )


@record
class CiOptions:
    """Who hears of the verdicts besides the reader."""

    junit: bool = False
    """Write the rules' verdicts to junit.xml too, which most CI systems show as tests."""
    github_summary: bool = False
    """Append the verdict and its table to the summary of the running GitHub Actions job."""
    annotations: bool = False
    """Print a GitHub annotation for each rule that is not kept."""


def said(rule: Rule) -> str:
    """The rule as it was typed."""
    return f"{rule.name} {rule.bound:g}" if rule.where is None else f"rule {rule.where}:{rule.name}={rule.bound:g}"


def _joined(pieces: Sequence[str]) -> list[str]:
    """The rules whole: a load's label may hold a comma, as in `concurrency 4, own length:min-speedup=1.2`."""
    found: list[str] = []
    for piece in pieces:
        if found and "=" not in found[-1]:
            found[-1] = f"{found[-1]}, {piece}"
        else:
            found.append(piece)
    return found


def _parse(text: str) -> Rule:
    place, equals, number = text.rpartition("=")
    where, colon, name = place.rpartition(":")
    require(
        bool(equals and colon and where.strip()),
        f"--rule {text!r}: expected TASK:RULE=BOUND (of min-speedup LOAD:RULE=BOUND), e.g. --rule "
        "mmlu:min-retention=0.9",
    )
    name = name.strip()
    if name not in JUDGED_BY:
        unknown("rule", name, get_args(RuleName))
    require(name != "max-size-ratio", f"--rule {text!r}: a size is the whole model's. Type --max-size-ratio {number}")
    try:
        bound = float(number)
    except ValueError:
        raise UsageError(f"--rule {text!r}: {number!r} is not a number") from None
    return Rule(name=name, bound=bound, where=where.strip())


def _check_bound(rule: Rule) -> None:
    """Refuse a bound that every student keeps, or none."""
    if rule.name == "min-retention":
        fine, expected = 0 < rule.bound <= 1, "a share above 0, at most 1, e.g. 0.95"
    elif rule.name == "max-harmful-flips":
        fine, expected = 0 <= rule.bound < 1, "a share of the documents below 1, e.g. 0.02"
    elif rule.name in ("max-size-ratio", "min-speedup"):
        fine, expected = 0 < rule.bound < math.inf, f"a number above 0, e.g. {'0.5' if 'max' in rule.name else '1.5'}"
    else:
        fine, expected = 0 <= rule.bound < math.inf, "0 or more, e.g. 0.01 for one point of accuracy"
    require(fine, f"--{said(rule)}: expected {expected}")
