"""Two runs that were read, held against each other student by student."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from distill_eval.pipeline.samples import read_student
from distill_eval.schema.diff import Diff, SpeedChange, StudentChange, TaskChange
from distill_eval.schema.retention import Finding

if TYPE_CHECKING:
    from distill_eval.compare.across import Scored
    from distill_eval.pipeline.sides import Comparison, Run
    from distill_eval.schema.gate import Rule
    from distill_eval.schema.report import Variant
    from distill_eval.schema.retention import Provenance

LEVEL = 0.95
"""Of intervals where no comparison sets it."""
REPORTS = "One of the runs is a report's own folder, which has no documents: nothing is said task by task."

Pair = tuple["Variant", "Variant"]


def held_against(
    before: Run, after: Run, pairs: Sequence[Pair], rules: Sequence[Rule], *, provenance: Provenance
) -> Diff:
    """What changed for each pair of students, and how the rules judge it.

    Raises:
        UsageError: a rule is for a task that there is none of.
        NotComparableError: the comparisons differ in what must be equal.
        ArtifactError: the documents of one are not complete.
    """
    from distill_eval.compare.across import changes
    from distill_eval.compare.alike import findings, require_alike
    from distill_eval.gate.facts import Facts
    from distill_eval.gate.judge import judge

    both = [(old, new) for old in before.comparisons for new in after.comparisons]
    common = [(old, new) for old, new in both if _tasks(old) & _tasks(new)]
    for old, new in common or both[:1]:
        require_alike(old.retention, new.retention)
    level = before.comparisons[0].retention.criterion.level if before.comparisons else LEVEL
    students = []
    for old_student, new_student in pairs:
        scored = list(_scored(before, after, old_student, new_student))
        students.append(_change(old_student, new_student, changes(scored, level=level)))
    said = [finding for old, new in common for finding in findings(old.retention, new.retention)]
    if not both:
        said.append(Finding(weight="high", subject="run", text=REPORTS))
    facts = [Facts(student=student.name, changes=student.tasks) for student in students]
    return Diff(
        before=before.side,
        after=after.side,
        level=level,
        students=tuple(students),
        gate=judge(rules, facts),
        findings=tuple(dict.fromkeys([*said, *_unmatched(before, after, pairs)])),
        provenance=provenance,
    )


def _tasks(one: Comparison) -> set[str]:
    return {task.task for task in one.retention.tasks}


def _scored(before: Run, after: Run, old: Variant, new: Variant) -> Iterator[tuple[Scored, Scored]]:
    """The student in each comparison before, beside the one after in each that has a task of it."""
    from distill_eval.compare.across import Scored

    earlier, later = (
        [
            (one, Scored(one.retention, ref, read_student(one.folder, one.retention, ref)))
            for one, ref in run.of(student)
        ]
        for run, student in ((before, old), (after, new))
    )
    yield from ((scored, other) for one, scored in earlier for another, other in later if _tasks(one) & _tasks(another))


def _change(old: Variant, new: Variant, tasks: tuple[TaskChange, ...]) -> StudentChange:
    return StudentChange(
        name=old.name if old.name == new.name else f"{old.name} to {new.name}",
        ref_before=old.ref,
        ref_after=new.ref,
        num_parameters_before=old.num_parameters,
        num_parameters_after=new.num_parameters,
        size_bytes_before=old.size_bytes,
        size_bytes_after=new.size_bytes,
        retention_before=old.retention,
        retention_after=new.retention,
        verdict_before=old.verdict,
        verdict_after=new.verdict,
        kl_before=old.kl,
        kl_after=new.kl,
        speeds=_speeds(old, new),
        tasks=tasks,
    )


def _speeds(old: Variant, new: Variant) -> tuple[SpeedChange, ...]:
    """Every load under which either was measured."""
    before, after = ({speed.load: speed for speed in variant.speeds} for variant in (old, new))
    found = []
    for load in dict.fromkeys([*before, *after]):
        earlier, later = before.get(load), after.get(load)
        found.append(
            SpeedChange(
                load=load,
                before=earlier.speedup if earlier else None,
                after=later.speedup if later else None,
                output_throughput_before=earlier.output_throughput if earlier else None,
                output_throughput_after=later.output_throughput if later else None,
            )
        )
    return tuple(found)


def _unmatched(before: Run, after: Run, pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Students that are in one run alone."""
    for run, place, when in ((before, 0, "before"), (after, 1, "after")):
        held = {pair[place].name for pair in pairs}
        left = [student.name for student in run.students if student.name not in held]
        if left:
            text = f"{', '.join(left)} of the run {when} was held against none of the other."
            yield Finding(weight="low", subject="run", text=text)
