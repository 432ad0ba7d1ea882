"""One teacher's evaluation and its students' in, one Retention out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from distill_eval.compare.bought import Against, adjusted, bought_of
from distill_eval.compare.confidence import calibration_errors
from distill_eval.compare.entries import Place, adaptive_of, contrast_of, entry_of
from distill_eval.compare.findings import find_all
from distill_eval.compare.groups import Group, Key, aggregating, group_of, has, task_keys
from distill_eval.compare.looks import Looked, Part, after_looks, looked_of
from distill_eval.compare.measure import Measured, measure_group, measure_task
from distill_eval.compare.pairing import Evaluated, PairedTask, exchanged, pair
from distill_eval.compare.significance import holm
from distill_eval.compare.verdict import check_criterion, check_margin, student_verdict, verdict_of
from distill_eval.errors import require
from distill_eval.record import digits
from distill_eval.schema.evals import EvalRun, TaskRun
from distill_eval.schema.retention import Criterion, Entry, Provenance, Retention, TaskFacts


def compare(
    teacher: Evaluated,
    students: Sequence[Evaluated],
    criterion: Criterion,
    *,
    baselines: Sequence[Evaluated | None] = (),
    seed: int,
    provenance: Provenance,
    looks: Sequence[Looked] = (),
) -> Retention:
    """What each student kept of the teacher, with the uncertainty of every number and a verdict per task.

    Pure: the same arguments give the same bytes. The definitions stand in docs/metrics.md.

    Args:
        teacher: The teacher's evaluation.
        students: The students', on the same documents.
        criterion: What a student must show on every task.
        baselines: For each student the same one trained without a teacher, or `None`; empty: none has one.
        seed: Of the bootstrap, which corpus metrics and calibration errors need.
        provenance: Copied into the result.
        looks: How the documents were taken, where that ended when the verdicts held; empty: all at once.

    Raises:
        UsageError: the criterion is out of range or would pass every student, or there is no student.
        NotComparableError: an evaluation differs from the teacher's in what must be equal.
        ArtifactError: the samples of an evaluation are not complete.
    """
    check_criterion(criterion)
    require(len(students) > 0, "there is no student to compare: name one with --student")
    entries: list[Entry] = []
    for student, baseline in zip(students, baselines or [None] * len(students), strict=True):
        entries += _entries(teacher, student, baseline, criterion, seed, looks)
    check_margin(criterion, {entry.task: entry.kind for entry in entries if entry.primary})
    refs = [student.run.model.ref for student in students]
    without = list({one.run.model.ref: one.run for one in baselines if one is not None}.values())
    return Retention(
        criterion=criterion,
        teacher=teacher.run.model,
        students=tuple(student.run.model for student in students),
        baselines=tuple(baseline.model for baseline in without),
        manifest=teacher.run.manifest,
        tasks=tuple(_facts(task) for task in teacher.run.tasks),
        entries=tuple(entries),
        verdicts=tuple(student_verdict(ref, [entry for entry in entries if entry.student_ref == ref]) for ref in refs),
        calibration_errors=tuple(calibration_errors([teacher, *students], seed=seed)),
        findings=find_all(teacher.run, [student.run for student in students], without, entries, criterion),
        provenance=provenance,
    )


def _facts(task: TaskRun) -> TaskFacts:
    return TaskFacts(
        task=task.task,
        version=task.version,
        output_type=task.output_type,
        num_fewshot=task.num_fewshot,
        num_docs=task.num_docs,
        num_docs_total=task.num_docs_total,
        prompts_digest=task.prompts_digest,
        dataset=task.dataset,
        dataset_revision=task.dataset_revision,
    )


def undecided(
    teacher: Evaluated, students: Sequence[Evaluated], criterion: Criterion, *, seed: int, looks: Sequence[Looked]
) -> set[str]:
    """The names of tasks and groups on which a student has no verdict yet, at this look.

    Args:
        teacher: The teacher's evaluation of the documents taken so far.
        students: The students'.
        criterion: What a student must show on every task.
        seed: Of the bootstrap.
        looks: How the documents were taken.
    """
    found: set[str] = set()
    for student in students:
        measuring = _Measuring(pair(teacher, student), criterion.level, seed, looks)
        for place, group in _places(teacher.run, student.run.model.ref):
            if place.primary and verdict_of(contrast_of(measuring.at(place, group), criterion)) == "INCONCLUSIVE":
                found.add(place.task)
    return found


def _entries(
    teacher: Evaluated,
    student: Evaluated,
    baseline: Evaluated | None,
    criterion: Criterion,
    seed: int,
    looks: Sequence[Looked],
) -> list[Entry]:
    """The entries of one student: every group before the tasks, Holm's adjustment over the primary ones."""
    places = _places(teacher.run, student.run.model.ref)
    measured = _Measuring(pair(teacher, student), criterion.level, seed, looks)
    at = [measured.at(place, group) for place, group in places]
    entries = _adjusted([entry_of(one, place, criterion) for one, (place, _) in zip(at, places, strict=True)])
    if looks:
        for index, (place, group) in enumerate(places):
            if place.primary:
                looked = looked_of(measured.tasks(place, group), looks)
                history = adaptive_of(at[index], measured.usual(place, group), looked, criterion)
                entries[index] = replace(entries[index], adaptive=history)
    if baseline is None:
        return entries
    without = exchanged(pair(teacher, baseline))
    of_teacher = _Measuring(without, criterion.level, seed)
    of_student = _Measuring(pair(baseline, student), criterion.level, seed)
    ref = baseline.run.model.ref
    for index, (place, group) in enumerate(places):
        if place.primary:
            against = Against(of_student.at(place, group), of_teacher.at(place, group))
            bought = bought_of(against, ref, criterion, name="/".join((place.task, *place.key)), seed=seed)
            entries[index] = replace(entries[index], bought=bought)
    return adjusted(entries, criterion.level)


def _places(teacher: EvalRun, ref: str) -> list[tuple[Place, Group | None]]:
    """What is compared of one student, in the order of the entries; a group beside its places."""
    groups = aggregating(teacher.groups, teacher.tasks)
    inside = {name for group in groups for name in group.members}
    found: list[tuple[Place, Group | None]] = []
    for group in groups:
        for key in group.keys:
            primary = group.judged and key == group.primary
            found.append((Place(ref, group.spec.group, key, primary, group.parent), group))
    for task in teacher.tasks:
        shown_under = group_of(task.task, groups, teacher.groups)
        for key, primary in task_keys(task).items():
            found.append((Place(ref, task.task, key, primary and task.task not in inside, shown_under), None))
    return found


class _Measuring:
    """Measures tasks once, though groups and subgroups ask for them again."""

    def __init__(self, paired: Mapping[str, PairedTask], level: float, seed: int, looks: Sequence[Looked] = ()) -> None:
        self._paired, self._level, self._seed, self._looks = paired, level, seed, looks
        self._known: dict[tuple[str, Key], Measured] = {}

    def at(self, place: Place, group: Group | None) -> Measured:
        """What stands at a place, valid at any look where there were several."""
        usual = self.usual(place, group)
        if not self._looks:
            return usual
        parts = [
            Part(name, self.task(name, place.key), [teacher.doc_id for teacher, _ in self._paired[name].documents])
            for name in self.tasks(place, group)
        ]
        looked = looked_of([part.task for part in parts], self._looks)
        by_size = group is None or group.spec.weight_by_size
        return after_looks(usual, parts, place.key[0], looked, level=self._level, weight_by_size=by_size)

    def usual(self, place: Place, group: Group | None) -> Measured:
        """The same for a number of documents that was fixed before: a metric of a task, or of the group."""
        if group is None:
            return self.task(place.task, place.key)
        return self.group(group, place.key, self.tasks(place, group))

    def tasks(self, place: Place, group: Group | None) -> list[str]:
        """The task itself, or those of the group that have the metric."""
        if group is None:
            return [place.task]
        names = [name for name in group.spec.tasks if name in self._paired]
        return [name for name in names if has(self._paired[name].teacher, place.key)]

    def task(self, name: str, key: Key) -> Measured:
        """One metric of one task."""
        if (name, key) not in self._known:
            self._known[name, key] = measure_task(self._paired[name], key, level=self._level, seed=self._seed)
        return self._known[name, key]

    def group(self, group: Group, key: Key, names: Sequence[str]) -> Measured:
        """One metric of a group, over those of its tasks that have it."""
        return measure_group([self.task(name, key) for name in names], weight_by_size=group.spec.weight_by_size)


def _adjusted(entries: Sequence[Entry]) -> list[Entry]:
    """The entries with Holm's adjustment over the primary ones."""
    p_values = holm([entry.p_value if entry.primary else None for entry in entries])
    return [replace(entry, p_adjusted=digits(p)) for entry, p in zip(entries, p_values, strict=True)]
