"""The rules of a report: what its artifacts say of each student, for the rules to judge."""

from __future__ import annotations

from collections.abc import Sequence

from distill_eval.errors import require
from distill_eval.gate.facts import Compared, Facts, compared
from distill_eval.gate.judge import judge
from distill_eval.pipeline.gathered import Gathered, decided
from distill_eval.schema.gate import Rule


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
    return decided(found, judge(rules, students))


def facts(found: Gathered) -> list[Facts]:
    """Each student's measurements, from whichever artifacts have them.

    One that no comparison has judged is asked for what the first comparison asks of the others.
    """
    kept: dict[str, dict[str, Compared]] = {}
    for retention in found.retentions.values():
        for student in retention.students:
            tasks = kept.setdefault(found.names[student.ref], {})
            for one in compared(retention, student.ref):
                tasks.setdefault(one.entry.task, one)
    criterion = next((retention.criterion for retention in found.retentions.values()), None)
    return [
        Facts(
            student=variant.name,
            size_ratio=variant.size_ratio,
            criterion=next((one.criterion for one in kept.get(variant.name, {}).values()), criterion),
            compared=tuple(kept.get(variant.name, {}).values()),
            speeds=variant.speeds,
        )
        for variant in found.report.variants
        if variant.role == "student"
    ]
