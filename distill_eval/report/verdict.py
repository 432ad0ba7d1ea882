"""The verdict and its criterion in words."""

from __future__ import annotations

from collections.abc import Callable, Collection

from distill_eval.report import numbers
from distill_eval.schema.gate import KEPT, Rule
from distill_eval.schema.report import Report
from distill_eval.schema.retention import DEFAULT, Criterion, Entry, Retention, StudentVerdict

MAX_NAMED = 3
"""Inconclusive tasks that the sentence names; the table has them all."""


def headline(verdict: StudentVerdict, student: str) -> str:
    """The decision in a few words; `student` is the name as it is to be shown."""
    if verdict.verdict == "PASS":
        return f"Ship {student}."
    return f"Do not ship {student}." if verdict.verdict == "FAIL" else f"Not enough evidence to ship {student}."


def grounds(retention: Retention, verdict: StudentVerdict, show: Callable[[str], str]) -> str:
    """One sentence: how much the student keeps, and on how many tasks that is enough; a second one where it is moot.

    `show` makes a task's name harmless for the medium.
    """
    primary = [entry for entry in retention.entries if entry.primary and entry.student_ref == verdict.student_ref]
    sentence = f"{_kept(verdict, primary, show)}; {_outcome(retention, verdict, primary, show)}."
    return sentence + _guessed(primary, show)


def _guessed(primary: list[Entry], show: Callable[[str], str]) -> str:
    """Where the teacher itself may be guessing, so that keeping all of it is no feat."""
    moot = [entry for entry in primary if entry.chance is not None and entry.retention_above_chance.value is None]
    if not moot:
        return ""
    named = ", ".join(show(entry.task) for entry in moot)
    return f" But the teacher cannot be told from guessing on {named}: what is kept of it there means nothing."


def _kept(verdict: StudentVerdict, primary: list[Entry], show: Callable[[str], str]) -> str:
    num_tasks = verdict.num_pass + verdict.num_fail + verdict.num_inconclusive
    if verdict.mean_retention is None:
        return f"Its mean retention over {numbers.plural(num_tasks, 'task')} is undefined"
    mean = numbers.percent(verdict.mean_retention)
    worst = _worst(verdict, primary)
    if num_tasks == 1 and verdict.worst_task is not None:
        return f"It keeps {worst or mean} of the teacher on {show(verdict.worst_task)}"
    defined = sum(entry.retention.value is not None for entry in primary)
    over = numbers.plural(num_tasks, "task")
    if defined < num_tasks:
        over = f"the {numbers.count(defined)} of {over} where retention is defined"
    named = f" (worst: {show(verdict.worst_task)} {worst})" if verdict.worst_task is not None and worst else ""
    return f"It keeps {mean} of the teacher on average over {over}{named}"


def _worst(verdict: StudentVerdict, primary: list[Entry]) -> str | None:
    """The worst task's retention with its interval, where that is known."""
    if verdict.worst_retention is None:
        return None
    shown = numbers.percent(verdict.worst_retention)
    found = next((entry.retention for entry in primary if entry.task == verdict.worst_task), None)
    if found is None or (found.ci_low is None and found.ci_high is None):
        return shown
    return f"{shown} {numbers.RATIO.interval(found.ci_low, found.ci_high)}"


def _outcome(retention: Retention, verdict: StudentVerdict, primary: list[Entry], show: Callable[[str], str]) -> str:
    num_tasks = verdict.num_pass + verdict.num_fail + verdict.num_inconclusive
    of_tasks = "of " + numbers.plural(num_tasks, "task")
    rule = "the criterion of " + criterion(retention)
    if verdict.verdict == "PASS":
        all_tasks = "both tasks" if num_tasks == 2 else f"all {numbers.count(num_tasks)} tasks"
        return f"it meets {rule}" if num_tasks == 1 else f"{all_tasks} meet {rule}"
    if verdict.verdict == "FAIL":
        verb = "fails" if verdict.num_fail == 1 else "fail"
        unsure = f", {_are(verdict.num_inconclusive)} inconclusive" if verdict.num_inconclusive else ""
        return f"{numbers.count(verdict.num_fail)} {of_tasks} {verb} {rule}{unsure}"
    unsettled = [entry for entry in primary if entry.verdict == "INCONCLUSIVE"]
    named = [_to_settle(entry, show) for entry in unsettled[:MAX_NAMED]]
    if len(unsettled) > MAX_NAMED:
        named.append(f"and {numbers.plural(len(unsettled) - MAX_NAMED, 'other')}")
    count = numbers.count(verdict.num_inconclusive)
    verb = "is" if verdict.num_inconclusive == 1 else "are"
    return f"{count} {of_tasks} {verb} inconclusive under {rule}: {', '.join(named)}"


def _are(number: int) -> str:
    return f"{numbers.count(number)} {'is' if number == 1 else 'are'}"


def _to_settle(entry: Entry, show: Callable[[str], str]) -> str:
    needed, total = entry.power.num_docs_to_settle, entry.num_docs_total
    if needed is None:
        return f"{show(entry.task)} (how many documents would settle it is not known)"
    wish = numbers.rounded_up(needed)
    if needed > total:
        return f"{show(entry.task)} would need about {wish:,} documents, more than the {total:,} that it has"
    return f"{show(entry.task)} would need about {min(wish, total):,} documents instead of {entry.num_pairs:,}"


def criteria(retentions: Collection[Retention], report: Report) -> str | None:
    """What verdicts are by: the gate's rules on what is kept, and without any the criterion of each comparison.

    What was judged without a comparison, a classifier, was so by default.
    """
    rules = dict.fromkeys(result.rule for result in report.gate if result.rule.name in KEPT)
    every = [(run.criterion, _units(run)) for run in retentions]
    if not every and any(row.verdict is not None for row in report.variants):
        every = [(DEFAULT, {"share"})]
    if not rules:
        asked = [(rule.level, f"{_asked(rule, units)} on every task") for rule, units in every]
    else:
        said = _on_tasks(rules, {unit for _, units in every for unit in units})
        asked = [(rule.level, said) for rule, _ in every]
    told = dict.fromkeys(f"at {numbers.round_percent(level)} confidence {what}" for level, what in asked)
    return f"Criterion: {'; '.join(told)}." if told else None


def asked(retention: Retention, report: Report) -> str:
    """What this comparison's tasks are held to: by the gate's rules on what is kept, without any its criterion."""
    tasks = {entry.task for entry in retention.entries}
    kept = (result.rule for result in report.gate if result.rule.name in KEPT)
    rules = dict.fromkeys(rule for rule in kept if rule.where is None or rule.where in tasks)
    return _on_tasks(rules, _units(retention)) if rules else criterion(retention)


def _on_tasks(rules: Collection[Rule], units: Collection[str]) -> str:
    general = "every other task" if any(rule.where is not None for rule in rules) else "every task"
    return "; ".join(f"{_bound(rule, units)} on {rule.where or general}" for rule in rules)


def _bound(rule: Rule, units: Collection[str]) -> str:
    if rule.name == "min-retention":
        return f"at least {numbers.round_percent(rule.bound)} retention"
    return _lost(rule.bound, units)


def criterion(retention: Retention) -> str:
    """What is asked on every task, e.g. `at least 95 % retention` or `at most 2.0 pp lost`."""
    return _asked(retention.criterion, _units(retention))


def _units(retention: Retention) -> set[str]:
    return {entry.unit for entry in retention.entries if entry.primary}


def _asked(rule: Criterion, units: Collection[str]) -> str:
    if rule.min_retention is not None:
        return f"at least {numbers.round_percent(rule.min_retention)} retention"
    assert rule.margin is not None, "a criterion is a minimal retention or a margin"
    return _lost(rule.margin, units)


def _lost(margin: float, units: Collection[str]) -> str:
    points = f"{100 * margin:.6g} pp"
    if set(units) <= {"share"}:
        return f"at most {points} lost"
    return f"at most {margin:.6g} lost in each metric's own unit" + (
        f" ({points} for shares)" if "share" in units else ""
    )
