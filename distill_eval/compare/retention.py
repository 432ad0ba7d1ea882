"""One teacher's evaluation and its students' in, one Retention out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from distill_eval.compare.entries import Place, entry_of
from distill_eval.compare.findings import find_all
from distill_eval.compare.groups import Group, Key, aggregating, group_of, task_keys
from distill_eval.compare.measure import Measured, measure_group, measure_task
from distill_eval.compare.pairing import Evaluated, PairedTask, pair
from distill_eval.compare.power import planned_power
from distill_eval.compare.significance import holm
from distill_eval.compare.verdict import check_criterion, student_verdict
from distill_eval.errors import require
from distill_eval.schema.retention import Criterion, Entry, Power, Provenance, Retention


def compare(
    teacher: Evaluated,
    students: Sequence[Evaluated],
    criterion: Criterion,
    *,
    seed: int,
    provenance: Provenance,
    power_plan: Mapping[str, Power],
) -> Retention:
    """What each student kept of the teacher, with the uncertainty of every number and a verdict per task.

    Pure: the same arguments give the same bytes. The definitions stand in docs/metrics.md.

    Args:
        teacher: The teacher's evaluation.
        students: The students', on the same documents.
        criterion: What a student must show on every task.
        seed: Of the bootstrap, which only corpus metrics need.
        provenance: Copied into the result.
        power_plan: What `planned_power` gave before the run, by task or group; what is missing is computed here.

    Raises:
        UsageError: the criterion is out of range, or there is no student.
        NotComparableError: an evaluation differs from the teacher's in what must be equal.
        ArtifactError: the samples of an evaluation are not complete.
    """
    check_criterion(criterion)
    require(len(students) > 0, "there is no student to compare: name one with --student")
    entries: list[Entry] = []
    for student in students:
        entries += _entries(teacher, student, criterion, seed, power_plan)
    refs = [student.run.model.ref for student in students]
    return Retention(
        criterion=criterion,
        teacher=teacher.run.model,
        students=tuple(student.run.model for student in students),
        manifest=teacher.run.manifest,
        entries=tuple(entries),
        verdicts=tuple(student_verdict(ref, [entry for entry in entries if entry.student_ref == ref]) for ref in refs),
        findings=find_all(teacher.run, [student.run for student in students], entries, criterion),
        provenance=provenance,
    )


def _entries(
    teacher: Evaluated, student: Evaluated, criterion: Criterion, seed: int, power_plan: Mapping[str, Power]
) -> list[Entry]:
    """The entries of one student: every group before the tasks, Holm's adjustment over the primary ones."""
    paired = pair(teacher, student)
    groups = aggregating(teacher.run.groups, teacher.run.tasks)
    measured = _Measuring(paired, criterion.level, seed)
    judged: list[tuple[Place, Measured]] = []
    ref = student.run.model.ref
    for group in groups:
        for key in group.keys:
            place = Place(ref, group.spec.group, key, group.parent is None and key == group.primary, group.parent)
            judged.append((place, measured.group(group, key)))
    for task in teacher.run.tasks:
        inside = any(task.task in group.spec.tasks for group in groups)
        for key, primary in task_keys(task):
            place = Place(ref, task.task, key, primary and not inside, group_of(task.task, groups, teacher.run.groups))
            judged.append((place, measured.task(task.task, key)))
    entries = [
        entry_of(found, place, criterion, _plan(power_plan, place, found, criterion.level)) for place, found in judged
    ]
    return _adjusted(entries)


class _Measuring:
    """Measures tasks once, though groups and subgroups ask for them again."""

    def __init__(self, paired: Mapping[str, PairedTask], level: float, seed: int) -> None:
        self._paired, self._level, self._seed = paired, level, seed
        self._known: dict[tuple[str, Key], Measured] = {}

    def task(self, name: str, key: Key) -> Measured:
        """One metric of one task."""
        if (name, key) not in self._known:
            self._known[name, key] = measure_task(self._paired[name], key, level=self._level, seed=self._seed)
        return self._known[name, key]

    def group(self, group: Group, key: Key) -> Measured:
        """One metric of a group, over those of its tasks that have it."""
        names = [name for name in group.spec.tasks if name in self._paired]
        having = [name for name in names if key in {(m.metric, m.filter) for m in self._paired[name].teacher.metrics}]
        return measure_group([self.task(name, key) for name in having], weight_by_size=group.spec.weight_by_size)


def _plan(power_plan: Mapping[str, Power], place: Place, found: Measured, level: float) -> Power:
    """What was planned for an entry; the plan of a task is for its verdict's metric, so others are planned anew."""
    if place.primary and place.task in power_plan:
        return power_plan[place.task]
    return planned_power(found.num_pairs, kind=found.kind, level=level)


def _adjusted(entries: Sequence[Entry]) -> list[Entry]:
    """The entries with Holm's adjustment over the primary ones."""
    p_values = holm([entry.p_value if entry.primary else None for entry in entries])
    return [
        replace(entry, p_adjusted=None if p is None else float(f"{p:.12g}"))
        for entry, p in zip(entries, p_values, strict=True)
    ]
