"""The files beside a comparison that hold every document: their names, and reading them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from distill_eval.record import from_json
from distill_eval.schema.evals import Sample
from distill_eval.schema.retention import Retention


def roles(num_students: int, num_baselines: int) -> list[str]:
    """What each model's files are called by: the teacher, then students, then baselines."""
    return ["teacher", *_numbered("student", num_students), *_numbered("baseline", num_baselines)]


def _numbered(role: str, number: int) -> list[str]:
    """The role for each of so many models, with a number where there are several."""
    return [f"{role}{place if number > 1 else ''}" for place in range(1, number + 1)]


def file_name(role: str, ref: str, task: str) -> str:
    """The file of one model and task."""
    return f"samples-{role}-{_slug(Path(ref).name)}-{_slug(task)}.jsonl"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)


def read_student(folder: Path, retention: Retention, ref: str) -> dict[str, Sequence[Sample]]:
    """A student's documents by task; a task whose file is not there is left out.

    Raises:
        ArtifactError: a line is not a sample.
    """
    place = [student.ref for student in retention.students].index(ref)
    role = roles(len(retention.students), 0)[1 + place]
    found: dict[str, Sequence[Sample]] = {}
    for task in retention.tasks:
        path = folder / file_name(role, ref, task.task)
        if path.is_file():
            lines = path.read_bytes().splitlines()
            found[task.task] = [
                from_json(Sample, line, source=f"line {number} of {path}") for number, line in enumerate(lines, 1)
            ]
    return found
