"""Two students of two comparisons, the one after against the one before, on the documents that both answered.

The comparisons' own records and samples are all there is: from them the tasks are put together again as they were
scored, and measured as a student is against its teacher.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from distill_eval.compare.alike import unlike_tasks
from distill_eval.compare.apart import APART, difference_apart, p_of_interval
from distill_eval.compare.entries import judge
from distill_eval.compare.groups import Key
from distill_eval.compare.measure import Measured, measure_group, measure_task
from distill_eval.compare.pairing import PairedTask
from distill_eval.compare.significance import holm, outcome
from distill_eval.errors import ArtifactError
from distill_eval.record import digits
from distill_eval.schema.diff import TaskChange
from distill_eval.schema.evals import MetricRun, Sample, TaskRun
from distill_eval.schema.retention import Criterion, Entry, Estimate, Retention, TaskFacts

NOT_THERE = "the documents of both runs (samples-*.jsonl) are not there"
NO_COMMON = "the two runs have no document in common"
OTHER_TASKS = "the group has other tasks in the two runs"
NOT_WEIGHED = "how the group weighs its tasks is not known"
ABSENT = "the run after has none of it"


class Scored(NamedTuple):
    """One student of a comparison with its documents."""

    retention: Retention
    ref: str
    samples: Mapping[str, Sequence[Sample]]
    """By task; a task without any was not kept."""

    @property
    def primary(self) -> dict[tuple[str, Key], Entry]:
        """The entries that carry its verdict."""
        mine = [entry for entry in self.retention.entries if entry.student_ref == self.ref and entry.primary]
        return {(entry.task, (entry.metric, entry.filter)): entry for entry in mine}

    def facts(self, task: str) -> TaskFacts | None:
        """What was asked; `None` of a group."""
        return next((facts for facts in self.retention.tasks if facts.task == task), None)

    def leaves(self, entry: Entry) -> list[str]:
        """The tasks of an entry: its own, or those of the group that have its metric."""
        if self.facts(entry.task) is not None:
            return [entry.task]
        inside = [
            other
            for other in self.retention.entries
            if (other.student_ref, other.group) == (self.ref, entry.task)
            and (other.metric, other.filter) == (entry.metric, entry.filter)
        ]
        return [leaf for other in inside for leaf in self.leaves(other)]


def changes(pairs: Sequence[tuple[Scored, Scored]], *, level: float) -> tuple[TaskChange, ...]:
    """What changed on every task that both students were judged on, each once, in the order of the runs before.

    Pure: the same arguments give the same numbers.

    Args:
        pairs: The student in a comparison before and in one after.
        level: Of every interval.

    Raises:
        ArtifactError: the samples of a run are not complete.
    """
    found: dict[str, TaskChange] = {}
    for before, after in pairs:
        theirs, unlike = after.primary, unlike_tasks(before.retention, after.retention)
        for place, old in before.primary.items():
            if place in theirs and not unlike.keys() & {old.task, *before.leaves(old)}:
                found.setdefault(old.task, _changed(before, after, old, theirs[place], level))
    adjusted = holm([change.p_value for change in found.values()])
    return tuple(_tested(change, p, level) for change, p in zip(found.values(), adjusted, strict=True))


def uncompared(before: Sequence[Scored], after: Sequence[Scored], found: Sequence[TaskChange]) -> dict[str, str]:
    """The tasks that the verdict before rests on and `changes` did not find, each with why.

    Args:
        before: The student in every comparison before.
        after: The student after in every comparison of its run.
        found: What `changes` made of them.
    """
    compared = {change.task for change in found}
    missing: dict[str, str] = {}
    for side in before:
        for (task, key), old in side.primary.items():
            if task not in compared:
                why = [_why(side, other, old, key) for other in after]
                missing.setdefault(task, next((one for one in why if one is not None), ABSENT))
    return missing


def _why(before: Scored, after: Scored, old: Entry, key: Key) -> str | None:
    """Why this comparison after has no counterpart; `None` where it does not have the task at all."""
    keys = [other for task, other in after.primary if task == old.task]
    if not keys:
        return None
    if key not in keys:
        return f"its metric is {_metric(key)} before and {_metric(keys[0])} after"
    unlike = unlike_tasks(before.retention, after.retention)
    names = [name for name in dict.fromkeys([old.task, *before.leaves(old)]) if name in unlike]
    if not names:
        return OTHER_TASKS
    told = "; ".join(unlike[name] if name == old.task else f"{name}: {unlike[name]}" for name in names)
    return f"it was not scored alike in both runs: {told}"


def _metric(key: Key) -> str:
    metric, filter_name = key
    return metric if filter_name == "none" else f"{metric} ({filter_name})"


def _changed(before: Scored, after: Scored, old: Entry, new: Entry, level: float) -> TaskChange:
    measured = _measured(before, after, old, new, level)
    if isinstance(measured, str):
        apart = difference_apart(old.student, new.student)
        p_value = p_of_interval(apart, level)
        test = None if p_value is None else APART
        return replace(_change(old, new), difference=apart, test=test, p_value=digits(p_value), reason=measured)
    return _together(old, new, measured, level)


def _tested(change: TaskChange, p_adjusted: float | None, level: float) -> TaskChange:
    if p_adjusted is None:
        return change
    found = outcome(change.difference, p_adjusted, level, higher_is_better=change.higher_is_better)
    return replace(change, p_adjusted=digits(p_adjusted), outcome=found)


def _measured(before: Scored, after: Scored, old: Entry, new: Entry, level: float) -> Measured | str:
    """Both on their common documents, or why that is not possible."""
    names = before.leaves(old)
    if not names:
        return NOT_THERE
    if sorted(names) != sorted(after.leaves(new)):
        return OTHER_TASKS
    paired = []
    for name in names:
        task = _paired(before, after, name)
        if isinstance(task, str):
            return task
        paired.append(task)
    key, seed = (old.metric, old.filter), before.retention.manifest.seed
    measured = [measure_task(task, key, level=level, seed=seed) for task in paired]
    found = measured[0]
    if before.facts(old.task) is None:
        by_size = [_weighs_by_size(entry) for entry in (old, new)]
        if None in by_size or by_size[0] != by_size[1]:
            return NOT_WEIGHED
        found = measure_group(measured, weight_by_size=bool(by_size[0]))
    return found if found.evidence is not None else found.reason or NOT_THERE


def _weighs_by_size(entry: Entry) -> bool | None:
    """Whether a group is the mean over documents: then they all count alike; `None` where they differ in length."""
    if entry.kind not in ("binary", "real"):
        return None
    return math.isclose(entry.num_pairs_effective, entry.num_pairs, rel_tol=1e-9)


def _paired(before: Scored, after: Scored, name: str) -> PairedTask | str:
    """One task with the documents that both students answered."""
    old_facts, new_facts = before.facts(name), after.facts(name)
    if old_facts is None or new_facts is None:
        return NOT_THERE
    old, new = _complete(before, old_facts), _complete(after, new_facts)
    if not old or not new:
        return NOT_THERE
    common = [key for key in sorted(old.keys() & new.keys()) if old[key].doc_hash == new[key].doc_hash]
    if not common:
        return NO_COMMON
    documents = tuple((old[key], new[key]) for key in common)
    return PairedTask(
        teacher=_task_run(before, old_facts, documents[0][0]),
        student=_task_run(after, new_facts, documents[0][1]),
        documents=documents,
    )


def _complete(side: Scored, facts: TaskFacts) -> dict[int, Sample]:
    """The samples of one task by document; none where none were kept."""
    samples = side.samples.get(facts.task, ())
    by_id = {sample.doc_id: sample for sample in samples}
    if samples and not len(by_id) == len(samples) == facts.num_docs:
        raise ArtifactError(
            f"{side.ref} has {len(samples)} samples of {len(by_id)} different documents for {facts.task}, expected one "
            f"for each of its {facts.num_docs}: a file was cut or edited. Compare again, the cache has what was scored"
        )
    return by_id


def _task_run(side: Scored, facts: TaskFacts, sample: Sample) -> TaskRun:
    """The task as it was scored, with the metrics that its documents have."""
    stored = {(one.metric, one.filter) for one in sample.metrics}
    entries = [entry for entry in side.retention.entries if (entry.student_ref, entry.task) == (side.ref, facts.task)]
    return TaskRun(
        task=facts.task,
        version=facts.version,
        output_type=facts.output_type,
        num_fewshot=facts.num_fewshot,
        num_docs=facts.num_docs,
        num_docs_total=facts.num_docs_total,
        prompts_digest=facts.prompts_digest,
        metrics=tuple(
            MetricRun(
                metric=entry.metric,
                filter=entry.filter,
                kind=entry.kind,
                aggregation=entry.metric,  # of a corpus metric alone: mcc and f1 have the name of theirs
                higher_is_better=entry.higher_is_better,
                value=entry.lm_eval_student,
                value_reason=entry.lm_eval_reason,
                primary=entry.primary,
            )
            for entry in entries
            if (entry.metric, entry.filter) in stored
        ),
    )


def _together(old: Entry, new: Entry, measured: Measured, level: float) -> TaskChange:
    judged = judge(measured, Criterion(min_retention=None, margin=0.0, level=level))
    return replace(
        _change(old, new),
        num_pairs=measured.num_pairs,
        before=judged.teacher,
        after=judged.student,
        difference=judged.difference,
        test=measured.test,
        p_value=digits(measured.p_value),
        flips=measured.flips,
    )


def _change(old: Entry, new: Entry) -> TaskChange:
    """What the two comparisons themselves say."""
    return TaskChange(
        task=old.task,
        metric=old.metric,
        filter=old.filter,
        unit=old.unit,
        higher_is_better=old.higher_is_better,
        num_tasks=old.num_tasks,
        num_docs_before=old.num_pairs,
        num_docs_after=new.num_pairs,
        num_pairs=None,
        before=old.student,
        after=new.student,
        difference=Estimate(value=None),
        retention_before=old.retention,
        retention_after=new.retention,
        test=None,
        p_value=None,
        p_adjusted=None,
        outcome=None,
        flips=None,
        reason=None,
    )
