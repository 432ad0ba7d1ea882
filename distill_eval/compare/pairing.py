"""Two evaluations brought together document by document, or refused with what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from distill_eval.errors import ArtifactError, NotComparableError
from distill_eval.schema.evals import EvalRun, MetricRun, MetricSample, Sample, TaskRun

MAX_NAMED = 5
"""Tasks that an error lists before it only counts them."""

MUST_AGREE = {
    "version": "version",
    "output_type": "output type",
    "num_fewshot": "num_fewshot",
    "num_docs": "documents scored",
    "num_docs_total": "documents in all",
}
"""Fields of a TaskRun that must be equal, and what an error calls them."""


class Evaluated(NamedTuple):
    """One model's evaluation with its documents."""

    run: EvalRun
    samples: Mapping[str, Sequence[Sample]]
    """By task; the order of the documents does not matter."""


class PairedTask(NamedTuple):
    """One task as both models did it."""

    teacher: TaskRun
    student: TaskRun
    documents: tuple[tuple[Sample, Sample], ...]
    """(teacher's, student's), by `doc_id`."""


class PairedMetric(NamedTuple):
    """One metric of one task as both models did it."""

    teacher: MetricRun
    student: MetricRun
    samples: tuple[tuple[MetricSample, MetricSample], ...]
    """(teacher's, student's), by `doc_id`."""


def pair(teacher: Evaluated, student: Evaluated) -> dict[str, PairedTask]:
    """The tasks of two evaluations, in the teacher's order, each document with both models' samples.

    Raises:
        NotComparableError: something differs that must be equal; every differing field is named.
        ArtifactError: the documents of one evaluation are not complete.
    """
    differences = _run_differences(teacher.run, student.run)
    students = {task.task: task for task in student.run.tasks}
    for task in teacher.run.tasks:
        if task.task in students:
            differences += _task_differences(task, students[task.task])
    if differences:
        raise NotComparableError(
            f"{student.run.model.ref} cannot be compared with the teacher {teacher.run.model.ref}. "
            f"{_listing(differences)}. Expected the same documents under the same prompts: evaluate both with the same "
            "options and lm-eval version, in one `distill-eval compare --teacher ... --student ...`"
        )
    paired = {}
    for task in teacher.run.tasks:
        documents = _join(task, _samples(teacher, task), _samples(student, task))
        paired[task.task] = PairedTask(teacher=task, student=students[task.task], documents=documents)
    return paired


def exchanged(paired: Mapping[str, PairedTask]) -> dict[str, PairedTask]:
    """The same with both models' roles exchanged."""
    return {
        name: PairedTask(task.student, task.teacher, tuple((student, teacher) for teacher, student in task.documents))
        for name, task in paired.items()
    }


def pair_metric(task: PairedTask, metric: str, filter_name: str) -> PairedMetric:
    """One metric of a paired task.

    Raises:
        ArtifactError: a document has no sample of this metric.
    """
    teacher, student = (_metric_run(run, metric, filter_name) for run in (task.teacher, task.student))
    samples = tuple(
        (_metric_sample(t, metric, filter_name), _metric_sample(s, metric, filter_name)) for t, s in task.documents
    )
    return PairedMetric(teacher=teacher, student=student, samples=samples)


def _metric_run(run: TaskRun, metric: str, filter_name: str) -> MetricRun:
    return next(m for m in run.metrics if (m.metric, m.filter) == (metric, filter_name))


def _metric_sample(sample: Sample, metric: str, filter_name: str) -> MetricSample:
    for one in sample.metrics:
        if (one.metric, one.filter) == (metric, filter_name):
            return one
    raise ArtifactError(
        f"document {sample.doc_id} of {sample.task} has no {metric} under the filter {filter_name}: "
        "its samples are not complete; evaluate the task again"
    )


def _run_differences(teacher: EvalRun, student: EvalRun) -> list[str]:
    """What must be equal in the whole run and is not."""
    found = []
    mine, theirs = teacher.manifest, student.manifest
    for field in ("limit", "apply_chat_template"):
        found += _difference(f"run: {field}", getattr(mine, field), getattr(theirs, field))
    if mine.chat_template_digest != theirs.chat_template_digest:
        found.append("run: chat template")
    tasks, others = ([task.task for task in run.tasks] for run in (teacher, student))
    for who, extra in (("teacher", set(tasks) - set(others)), ("student", set(others) - set(tasks))):
        if extra:
            found.append(f"run: only the {who} has the tasks {', '.join(sorted(extra)[:MAX_NAMED])}")
    if teacher.groups != student.groups:
        found.append("run: groups of tasks")
    return found


def _task_differences(teacher: TaskRun, student: TaskRun) -> list[str]:
    """What must be equal in one task and is not."""
    found = []
    for field, name in MUST_AGREE.items():
        found += _difference(f"{teacher.task}: {name}", getattr(teacher, field), getattr(student, field))
    if teacher.prompts_digest != student.prompts_digest:
        found.append(f"{teacher.task}: prompts")
    mine, theirs = ({(metric.metric, metric.filter) for metric in run.metrics} for run in (teacher, student))
    if mine != theirs:
        only = ", ".join(f"{metric} under {filter_name}" for metric, filter_name in sorted(mine ^ theirs))
        found.append(f"{teacher.task}: metrics and filters (only one of the two has {only})")
    return found


def _difference(what: str, teacher: object, student: object) -> list[str]:
    return [] if teacher == student else [f"{what} (teacher {_shown(teacher)}, student {_shown(student)})"]


def _shown(value: object) -> str:
    return "none" if value is None else str(value)


def _listing(differences: list[str]) -> str:
    """The differences, those of many tasks cut short."""
    shown = "; ".join(differences[: 2 * MAX_NAMED])
    rest = len(differences) - 2 * MAX_NAMED
    return f"They differ in {shown}" + (f"; and {rest} more" if rest > 0 else "")


def _samples(model: Evaluated, task: TaskRun) -> dict[int, Sample]:
    """The samples of one task by `doc_id`."""
    samples = model.samples.get(task.task, ())
    by_id = {sample.doc_id: sample for sample in samples}
    if not samples or len(by_id) != len(samples) or len(by_id) != task.num_docs:
        raise ArtifactError(
            f"{model.run.model.ref} has {len(samples)} samples of {len(by_id)} different documents for {task.task}, "
            f"expected one for each of its {task.num_docs} documents (more than 0); evaluate the task again"
        )
    return by_id


def _join(task: TaskRun, teacher: dict[int, Sample], student: dict[int, Sample]) -> tuple[tuple[Sample, Sample], ...]:
    """The samples of both models by document; both hashes must agree."""
    odd = sorted(teacher.keys() ^ student.keys())
    odd += [key for key in sorted(teacher.keys() & student.keys()) if teacher[key].doc_hash != student[key].doc_hash]
    if odd:
        raise NotComparableError(
            f"{len(odd)} documents of {task.task} are not the same for teacher and student, the first is document "
            f"{odd[0]}: the data set has changed between the two evaluations; evaluate both again at the same revision"
        )
    return tuple((teacher[key], student[key]) for key in sorted(teacher))
