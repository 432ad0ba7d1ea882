"""The rules of a report: what its artifacts say of each student, for the rules to judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from distill_eval.errors import require
from distill_eval.gate.facts import Compared, Facts, compared
from distill_eval.gate.judge import judge, own_rule
from distill_eval.pipeline.gathered import Gathered, decided
from distill_eval.report.decision import unasked
from distill_eval.schema.gate import KEPT, Rule, RuleResult, overall
from distill_eval.schema.retention import DEFAULT, Entry, Retention, worst


def gated(found: Gathered, rules: Sequence[Rule]) -> Gathered:
    """The same report with the rules judged, and what is to be shipped by them.

    Raises:
        UsageError: there is no student to judge, or a rule is for a task or a load that there is none of.
    """
    students = facts(found)
    require(
        bool(students),
        f"there is no student to judge, only {', '.join(variant.name for variant in found.report.variants)}: leave the "
        "rules and --gate out, or name the folder of a comparison too",
    )
    results = judge(rules, students)
    return decided(_by_rules(found, students, results), results)


def _by_rules(found: Gathered, students: Sequence[Facts], results: Sequence[RuleResult]) -> Gathered:
    """With the verdicts that the rules give on what is kept, in place of those by the comparisons' criterion."""
    kept = [result for result in results if result.rule.name in KEPT]
    by_student = {one.student: [result for result in kept if result.student == one.student] for one in students}
    own = {one.student: own_rule(one.criterion) for one in students if one.criterion is not None}

    def judged(entry: Entry, name: str) -> Entry:
        return _judged(entry, by_student.get(name, ()), own.get(name)) if entry.primary else entry

    entries = {name: [judged(entry, name) for entry in some] for name, some in found.entries.items()}
    retentions = {
        where: _retold(one, [judged(entry, found.names[entry.student_ref]) for entry in one.entries])
        for where, one in found.retentions.items()
    }
    variants = tuple(
        replace(row, verdict=overall(by_student[row.name]))
        if row.verdict is not None and row.name in by_student
        else row
        for row in found.report.variants
    )
    return found._replace(report=replace(found.report, variants=variants), entries=entries, retentions=retentions)


def _retold(retention: Retention, entries: Sequence[Entry]) -> Retention:
    """The comparison with these entries, and each student's verdict by them."""
    primary = [entry for entry in entries if entry.primary]
    verdicts = tuple(
        replace(
            one,
            verdict=worst([entry.verdict for entry in primary if entry.student_ref == one.student_ref]) or one.verdict,
        )
        for one in retention.verdicts
    )
    return replace(retention, entries=tuple(entries), verdicts=verdicts)


def _judged(entry: Entry, kept: Sequence[RuleResult], own: Rule | None) -> Entry:
    """An entry by the rules; what would settle it is known for the comparison's own bound alone."""
    results = [result for result in kept if result.where == entry.task]
    if own is None or all((result.rule.name, result.rule.bound) == (own.name, own.bound) for result in results):
        return entry
    power = replace(entry.power, num_docs_to_settle=None, reason="by another bound than that of the comparison")
    return replace(entry, verdict=overall(results), power=power)


def facts(found: Gathered) -> list[Facts]:
    """Each student's measurements, from whichever artifacts have them.

    One that no comparison has judged is asked for what the first comparison asks of the others, or by default, so that
    a gate never passes without one. A classifier is judged by what its training counted, by default. One that was not
    judged and taught another is an assistant of a chain, and is not asked for anything.
    """
    kept: dict[str, dict[str, Compared]] = {}
    for retention in found.retentions.values():
        for student in retention.students:
            tasks = kept.setdefault(found.names[student.ref], {})
            for one in compared(retention, student.ref):
                tasks.setdefault(one.entry.task, one)
    for name, entries in found.entries.items():
        kept.setdefault(name, {entry.task: Compared(entry, DEFAULT) for entry in entries})
    criterion = next((retention.criterion for retention in found.retentions.values()), DEFAULT)
    taught = _that_taught(found)
    return [
        Facts(
            student=variant.name,
            size_ratio=variant.size_ratio,
            criterion=next((one.criterion for one in kept.get(variant.name, {}).values()), criterion),
            compared=tuple(kept.get(variant.name, {}).values()),
            unasked=unasked(variant.name, found.entries) if variant.name in kept else (),
            speeds=variant.speeds,
        )
        for variant in found.report.variants
        if variant.role == "student" and (variant.name in kept or variant.name not in taught)
    ]


def _that_taught(found: Gathered) -> set[str]:
    """Models by whom others were trained: by their names, or by the last two parts of their folders."""
    teachers = {teacher.name for run in found.trainings.values() for teacher in run.teachers}
    ends = {Path(name).parts[-2:] for name in teachers if len(Path(name).parts) > 1}
    named = {short for ref, short in found.names.items() if ref in teachers}
    return named | {short for where, short in found.models.items() if Path(where).parent.parts[-2:] in ends}
