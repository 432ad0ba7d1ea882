"""From rules and facts to verdicts, each from the whole interval and never from the point."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from distill_eval.errors import require, unknown
from distill_eval.gate.facts import Facts
from distill_eval.gate.options import said
from distill_eval.gate.seen import Seen, seen
from distill_eval.schema.gate import KEPT, Rule, RuleName, RuleResult
from distill_eval.schema.retention import Criterion, Verdict

FAMILIES: tuple[tuple[RuleName, ...], ...] = (
    KEPT,  # two ways to say the same: what is set for one task takes the place of both
    ("max-harmful-flips",),
    ("max-regression",),
    ("max-size-ratio",),
    ("min-speedup",),
)
"""Rules about the same thing, in the order of the results."""
WHY: dict[Verdict, str] = {
    "PASS": "the whole interval keeps it",
    "FAIL": "none of the interval keeps it",
    "INCONCLUSIVE": "the interval holds both",
}


def judge(rules: Sequence[Rule], facts: Sequence[Facts]) -> tuple[RuleResult, ...]:
    """Every rule on every student, in each place where it holds.

    Where no rule says how much is to be kept, the comparison's own criterion does.

    Raises:
        UsageError: a rule is for a task or a load that there is none of.
    """
    tasks = {one.entry.task for each in facts for one in each.compared} | {
        change.task for each in facts for change in each.changes
    }
    tasks |= {task for each in facts for task, _ in each.uncompared if task is not None}
    loads = {speed.load for each in facts for speed in each.speeds}
    check_places(rules, tasks, "task")
    check_places(rules, loads, "load")
    _check_shares(rules, facts)
    return tuple(result for one in facts for result in _judged(rules, one))


def check_places(rules: Sequence[Rule], places: Collection[str], what: str) -> None:
    """Refuse a rule for a task (or a load) that is not among those there are; without any, it is unmeasured.

    Raises:
        UsageError: there is no such place.
    """
    for rule in rules:
        mine = (rule.name == "min-speedup") == (what == "load")
        if mine and rule.where is not None and places and rule.where not in places:
            unknown(f"{what} in --rule {rule.where}:{rule.name}={rule.bound:g}:", rule.where, places)


def _check_shares(rules: Sequence[Rule], facts: Sequence[Facts]) -> None:
    """Refuse a loss that may be all there is: a 1 is a slip for one point.

    Raises:
        UsageError: a bound is 1 or more of a score from 0 to 1.
    """
    units = {
        "max-regression": {change.task: change.unit for each in facts for change in each.changes},
        "margin": {one.entry.task: one.entry.unit for each in facts for one in each.compared},
    }
    for rule in rules:
        special = {other.where for other in rules if other.name == rule.name and other.where is not None}
        shares = [
            task
            for task, unit in units.get(rule.name, {}).items()
            if unit == "share" and (task == rule.where if rule.where is not None else task not in special)
        ]
        require(
            rule.bound < 1 or not shares,
            f"--{said(rule)}: {shares[0] if shares else ''} is scored from 0 to 1, so every student would pass. "
            f"Expected less than 1; for {rule.bound:g} points type --{said(replace(rule, bound=rule.bound / 100))}",
        )


def _judged(rules: Sequence[Rule], facts: Facts) -> list[RuleResult]:
    found = []
    for family in FAMILIES:
        asked = [rule for rule in rules if rule.name in family]
        general = any(rule.where is None for rule in asked)
        if "min-retention" in family and not general and facts.criterion is not None:
            asked.insert(0, own_rule(facts.criterion))
        special = {rule.where for rule in asked if rule.where is not None}
        for rule in asked:
            found += [
                _result(rule, facts, one)
                for one in seen(rule, facts)
                if rule.where is not None or one.where not in special
            ]
    return found


def own_rule(criterion: Criterion) -> Rule:
    """What a comparison asks for, as a rule."""
    if criterion.min_retention is not None:
        return Rule(name="min-retention", bound=criterion.min_retention)
    return Rule(name="margin", bound=criterion.margin or 0.0)


def _result(rule: Rule, facts: Facts, found: Seen) -> RuleResult:
    verdict = found.verdict or verdict_of(found)
    return RuleResult(
        rule=rule,
        student=facts.student,
        where=found.where,
        observed=found.observed,
        verdict=verdict,
        text=_text(rule, found, verdict),
    )


def verdict_of(found: Seen) -> Verdict:
    """PASS if the whole interval is on the right side of the limit, FAIL if none of it is, else INCONCLUSIVE."""
    low, high = found.observed.ci_low, found.observed.ci_high
    least, most = (low, high) if found.at_least else (high, low)
    sign = 1.0 if found.at_least else -1.0
    if least is not None and sign * least >= sign * found.limit:
        return "PASS"
    return "FAIL" if most is not None and sign * most < sign * found.limit else "INCONCLUSIVE"


def _text(rule: Rule, found: Seen, verdict: Verdict) -> str:
    """The reason in one line."""
    observed = found.observed
    place = "" if found.where is None else f" {'at' if rule.name == 'min-speedup' else 'on'} {found.where}"
    named = f"{rule.name} {rule.bound:g}{place}"
    if observed.ci_low is None and observed.ci_high is None:
        measured = f"{found.shown} without an interval" if found.shown else "not measured"
        if verdict == "INCONCLUSIVE":
            return f"{named}: {measured}: {observed.reason}"
        return f"{named}: {measured} ({observed.reason}); the comparison's contrast decides: {WHY[verdict]}"
    if rule.name == "max-size-ratio":
        return f"{named}: {found.shown}, which {'keeps it' if verdict == 'PASS' else 'does not keep it'}"
    return f"{named}: {found.shown}, {WHY[verdict]}{found.more if verdict == 'INCONCLUSIVE' else ''}"
