"""What each rule is judged by: a student's measurements, place by place, beside the limit in their own terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from distill_eval.gate.facts import Facts
from distill_eval.record import digits
from distill_eval.report import numbers
from distill_eval.schema.bench import Ratio
from distill_eval.schema.gate import Rule, RuleName
from distill_eval.schema.report import SET_RATE
from distill_eval.schema.retention import Entry, Estimate, Verdict

NO_COMPARISON = "no comparison has judged it"
NO_BENCHMARK = "no benchmark measured its speed beside the teacher's"
NO_SIZE = "the size of its weights or of the teacher's is not known"
NO_FLIPS = "flips are counted for 0/1 metrics only"
NO_CHANGE = "it was not compared with the student before"
RATIO = numbers.Scale(1, 2, "x")


class Seen(NamedTuple):
    """What a rule is judged by, in one place."""

    where: str | None
    observed: Estimate
    shown: str = ""
    """The observed value in words."""
    limit: float = 0.0
    """What the interval is held against: the rule's bound in the terms of `observed`."""
    at_least: bool = True
    """Whether the interval must lie above the limit; False: below it."""
    verdict: Verdict | None = None
    """That of the comparison, where it has judged by the same bound."""
    more: str = ""
    """What would settle it."""


def seen(rule: Rule, facts: Facts) -> list[Seen]:
    """What a rule sees of a student, in each place where it holds; never nothing."""
    found = _SEEN[rule.name](facts, rule)
    if rule.where is None:
        return found or [_unseen(_missing(rule, facts))]
    return [one for one in found if one.where == rule.where] or [_unseen(_missing(rule, facts), rule.where)]


def _missing(rule: Rule, facts: Facts) -> str:
    """Why a rule has nothing to judge."""
    if rule.name == "max-harmful-flips" and facts.compared:
        return NO_FLIPS
    reasons: dict[RuleName, str] = {
        "min-speedup": NO_BENCHMARK,
        "max-regression": NO_CHANGE,
        "max-size-ratio": NO_SIZE,
    }
    return reasons.get(rule.name, NO_COMPARISON)


def _unseen(reason: str, where: str | None = None) -> Seen:
    return Seen(where, Estimate(value=None, reason=reason))


def _kept(facts: Facts, rule: Rule) -> list[Seen]:
    """Retention task by task; by the comparison's own bound as the comparison judged it."""
    return [
        _by_comparison(
            Seen(entry.task, entry.retention, _shown(entry.retention, numbers.RATIO), rule.bound),
            entry,
            own=criterion.min_retention == rule.bound,
        )
        for entry, criterion in facts.compared
    ] + [_unseen(NO_COMPARISON, task) for task in facts.unasked]


def _lost(facts: Facts, rule: Rule) -> list[Seen]:
    """The loss task by task, in the metric's unit."""
    return [
        _by_comparison(
            _loss(entry.task, entry.difference, entry.unit, rule, higher_is_better=entry.higher_is_better),
            entry,
            own=criterion.margin == rule.bound,
        )
        for entry, criterion in facts.compared
    ] + [_unseen(NO_COMPARISON, task) for task in facts.unasked]


def _by_comparison(found: Seen, entry: Entry, *, own: bool) -> Seen:
    """As the comparison judged it, where that asked for the same bound."""
    if not own:
        return found
    needed = entry.power.num_docs_to_settle
    more = "" if needed is None else f"; about {numbers.rounded_up(needed):,} documents would settle it"
    return found._replace(verdict=entry.verdict, more=more)


def _regressed(facts: Facts, rule: Rule) -> list[Seen]:
    """The loss against the student before, task by task; a task that is gone is none that was kept."""
    found = [
        _loss(change.task, change.difference, change.unit, rule, higher_is_better=change.higher_is_better)
        for change in facts.changes
    ]
    return [*found, *(_unseen(why, task) for task, why in facts.uncompared)]


def _loss(where: str, difference: Estimate, unit: str, rule: Rule, *, higher_is_better: bool) -> Seen:
    shown = _shown(difference, numbers.difference_scale(unit))
    limit = -rule.bound if higher_is_better else rule.bound
    return Seen(where, difference, shown, limit, at_least=higher_is_better)


def _flipped(facts: Facts, rule: Rule) -> list[Seen]:
    """Harmful flips of every task of 0/1 scores."""
    found = []
    for entry, criterion in facts.compared:
        if entry.flips is not None and entry.num_pairs:
            observed = exact_share(entry.flips.num_harmful, entry.num_pairs, criterion.level)
            counts = f"{entry.flips.num_harmful:,} of {entry.num_pairs:,}"
            shown = f"{_shown(observed, numbers.RATIO)} ({counts})"
            found.append(Seen(entry.task, observed, shown, rule.bound, at_least=False))
        elif entry.kind == "binary":
            found.append(_unseen(entry.difference.reason or NO_FLIPS, entry.task))
    return found


def exact_share(number: int, total: int, level: float) -> Estimate:
    """A share with the exact interval of Clopper and Pearson (1934, Biometrika 26:404-413)."""
    from scipy.stats import binomtest

    interval = binomtest(number, total).proportion_ci(confidence_level=level, method="exact")
    value, low, high = (digits(float(part)) for part in (number / total, interval.low, interval.high))
    return Estimate(value=value, ci_low=low, ci_high=high, reason="an exact interval has no standard error")


def _sized(facts: Facts, rule: Rule) -> list[Seen]:
    """The size, which is counted and has no uncertainty."""
    ratio = facts.size_ratio
    if ratio is None:
        return []
    exact = Estimate(value=ratio, stderr=0.0, ci_low=ratio, ci_high=ratio)
    return [Seen(None, exact, f"{ratio:.3g}x the teacher's bytes", rule.bound, at_least=False)]


def _sped(facts: Facts, rule: Rule) -> list[Seen]:
    """The speedup under every load, but for those of a set rate where another has one."""
    speeds = facts.speeds
    if rule.where is None and any(speed.speedup is not None for speed in speeds):
        speeds = [speed for speed in speeds if speed.reason != SET_RATE]
    found = []
    for speed in speeds:
        if speed.speedup is None:
            found.append(_unseen(speed.reason or NO_BENCHMARK, speed.load))
        else:
            observed = _of_ratio(speed.speedup)
            found.append(Seen(speed.load, observed, _shown(observed, RATIO), rule.bound))
    return found


def _of_ratio(ratio: Ratio) -> Estimate:
    reason = "its interval is that of its logarithm"
    if ratio.ci_low is None:
        reason = f"{numbers.plural(len(ratio.pairs), 'repeat')} cannot show a spread; measure with --repeats 3 or more"
    return Estimate(value=ratio.value, ci_low=ratio.ci_low, ci_high=ratio.ci_high, reason=reason)


def _shown(observed: Estimate, scale: numbers.Scale) -> str:
    if observed.value is None:
        return ""
    bounded = observed.ci_low is not None or observed.ci_high is not None
    interval = f" {scale.interval(observed.ci_low, observed.ci_high)}" if bounded else ""
    return scale.show(observed.value) + interval


_SEEN: dict[RuleName, Callable[[Facts, Rule], list[Seen]]] = {
    "min-retention": _kept,
    "margin": _lost,
    "max-harmful-flips": _flipped,
    "max-regression": _regressed,
    "max-size-ratio": _sized,
    "min-speedup": _sped,
}
