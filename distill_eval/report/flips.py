"""The documents whose correctness changed from the teacher to a student, from both models' samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from distill_eval.errors import ArtifactError
from distill_eval.schema.evals import MetricSample, Sample
from distill_eval.schema.retention import Entry, Retention


class Pair(NamedTuple):
    """One document as both models answered it."""

    teacher: Sample
    student: Sample


class Changed(NamedTuple):
    """What changed on one task."""

    entry: Entry
    """The student, the task, and the metric that says what is right."""
    harmful: tuple[Pair, ...]
    """The teacher is right and the student wrong; in the order of the documents."""
    beneficial: tuple[Pair, ...]

    def scored(self, sample: Sample) -> MetricSample:
        """The document under the metric."""
        return scored(self.entry, sample)


def counted(retention: Retention, student_ref: str) -> list[Entry]:
    """An entry with flips per task, in the tasks' order: the primary one, or that of its group's metric.

    Groups are not among them: their documents are those of their tasks.
    """
    own = [entry for entry in retention.entries if entry.student_ref == student_ref]
    groups = {entry.task: entry for entry in own if entry.num_tasks > 1 and entry.primary}
    found = []
    for task in retention.tasks:
        entries = [e for e in own if e.task == task.task and e.num_tasks == 1 and e.flips is not None]
        wanted = {(group.metric, group.filter) for group in groups.values()}
        entries.sort(key=lambda entry: (not entry.primary, (entry.metric, entry.filter) not in wanted))
        found += entries[:1]
    return found


def changed(entry: Entry, teacher: Sequence[Sample], student: Sequence[Sample], *, source: str) -> Changed:
    """The documents that make up the entry's flips.

    Args:
        entry: With flips.
        teacher: Its samples of the entry's task.
        student: The same of the student.
        source: Where the samples come from, for the message.

    Raises:
        ArtifactError: the samples are not of the same documents, or do not give the entry's counts.
    """
    theirs = {(sample.task, sample.doc_id, sample.doc_hash): sample for sample in student}
    pairs = [
        Pair(sample, theirs[key])
        for sample in sorted(teacher, key=lambda sample: sample.doc_id)
        if (key := (sample.task, sample.doc_id, sample.doc_hash)) in theirs
    ]
    judged = [(pair, _is_right(entry, pair.teacher), _is_right(entry, pair.student)) for pair in pairs]
    harmful = tuple(pair for pair, before, after in judged if before and not after)
    beneficial = tuple(pair for pair, before, after in judged if after and not before)
    assert entry.flips is not None, "only entries with flips are asked for"
    counts = entry.flips.num_harmful, entry.flips.num_beneficial
    if (len(harmful), len(beneficial)) != counts or len(pairs) != entry.num_pairs:
        raise ArtifactError(
            f"{source} do not belong to their retention.json: {len(harmful)} harmful and {len(beneficial)} beneficial "
            f"changes in {len(pairs)} documents of {entry.task}, expected {counts[0]} and {counts[1]} in "
            f"{entry.num_pairs}; run distill-eval compare again"
        )
    return Changed(entry, harmful, beneficial)


def scored(entry: Entry, sample: Sample) -> MetricSample:
    """The document under the entry's metric.

    Raises:
        ArtifactError: it has none.
    """
    for one in sample.metrics:
        if (one.metric, one.filter) == (entry.metric, entry.filter):
            return one
    raise ArtifactError(
        f"document {sample.doc_id} of {sample.task} has no {entry.metric} under the filter {entry.filter}: run "
        "distill-eval compare again"
    )


def _is_right(entry: Entry, sample: Sample) -> bool:
    return scored(entry, sample).value == (1.0 if entry.higher_is_better else 0.0)
