"""A classifier beside its teacher, from the counts of texts that one of the two alone labels right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from distill_eval.compare.entries import Place, entry_of
from distill_eval.compare.evidence import binary_evidence
from distill_eval.compare.measure import UNITS, Measured
from distill_eval.compare.significance import sign_test
from distill_eval.errors import ArtifactError
from distill_eval.schema.distill import ClassifierFigures, Paired
from distill_eval.schema.retention import Criterion, Entry, Flips

METRIC = ("accuracy", "none")
"""Name and filter, as in lm-eval's own entries."""
NOT_LM_EVAL = "a training counts right labels itself"


def entry_of_labels(
    student_ref: str, texts: str, student: ClassifierFigures, teacher: ClassifierFigures, criterion: Criterion
) -> Entry:
    """The accuracy of both, judged as a task of 0/1 scores with these counts is: the order of texts tells nothing.

    Args:
        student_ref: As its artifact names the student.
        texts: What stands for the task.
        student: Its figures.
        teacher: Its figures on the same texts, with the counts of the pair.
        criterion: What the student must show.

    Raises:
        ArtifactError: the counts are not those of the accuracies.
    """
    alone = teacher.paired
    if alone is None:
        raise ArtifactError(f"{teacher.model} has no counts beside {student_ref} on {texts}: train again")
    cells = _cells(student, teacher, alone)
    right_student, right_teacher = (np.array([np.repeat(rights, cells)]) for rights in ([1, 1, 0, 0], [1, 0, 1, 0]))
    measured = Measured(
        kind="binary",
        unit=UNITS["binary"],
        higher_is_better=True,
        num_pairs=alone.num_pairs,
        num_docs_total=alone.num_pairs,
        num_tasks=1,
        lm_eval_teacher=None,
        lm_eval_student=None,
        lm_eval_reason=NOT_LM_EVAL,
        evidence=binary_evidence(right_student, right_teacher),
        test="exact McNemar",
        p_value=sign_test(alone.num_only_student, alone.num_only_teacher),
        num_better=alone.num_only_student,
        num_worse=alone.num_only_teacher,
        flips=Flips(
            num_harmful=alone.num_only_teacher, num_beneficial=alone.num_only_student, num_wrong_to_other_wrong=None
        ),
    )
    entry = entry_of(measured, Place(student_ref, texts, METRIC, primary=True, group=None), criterion)
    return replace(entry, p_adjusted=entry.p_value)  # of one task


def _cells(student: ClassifierFigures, teacher: ClassifierFigures, alone: Paired) -> list[int]:
    """Texts that both label right, the student alone, the teacher alone, neither."""
    both = round(teacher.accuracy * alone.num_pairs) - alone.num_only_teacher
    cells = [both, alone.num_only_student, alone.num_only_teacher]
    cells.append(alone.num_pairs - sum(cells))
    if min(cells) < 0 or both + alone.num_only_student != round(student.accuracy * alone.num_pairs):
        raise ArtifactError(
            f"{student.model} has an accuracy of {student.accuracy:.4f}, {teacher.model} of {teacher.accuracy:.4f}; of "
            f"{alone.num_pairs:,} texts {alone.num_only_student:,} and {alone.num_only_teacher:,} are labeled right by "
            "one alone, which does not go together: the artifact was edited. Train again"
        )
    return cells
