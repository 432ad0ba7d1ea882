"""The rules of a report: what its artifacts say of each student, for the rules to judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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

    One that no comparison has judged is asked for what the first comparison asks of the others. One that taught another
    and that no comparison has judged is an assistant of a chain, and is not asked for anything.
    """
    kept: dict[str, dict[str, Compared]] = {}
    for retention in found.retentions.values():
        for student in retention.students:
            tasks = kept.setdefault(found.names[student.ref], {})
            for one in compared(retention, student.ref):
                tasks.setdefault(one.entry.task, one)
    criterion = next((retention.criterion for retention in found.retentions.values()), None)
    taught = _that_taught(found)
    return [
        Facts(
            student=variant.name,
            size_ratio=variant.size_ratio,
            criterion=next((one.criterion for one in kept.get(variant.name, {}).values()), criterion),
            compared=tuple(kept.get(variant.name, {}).values()),
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
