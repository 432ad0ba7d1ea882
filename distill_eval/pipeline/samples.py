"""The documents beside a `retention.json`: one JSON-lines file per model and task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distill_eval.errors import ArtifactError
from distill_eval.record import from_json
from distill_eval.schema.evals import Sample

if TYPE_CHECKING:
    from distill_eval.report.flips import Changed
    from distill_eval.schema.retention import Retention


def file_name(role: str, ref: str, task: str) -> str:
    """Of one model's documents of one task."""
    return f"samples-{role}-{_slug(Path(ref).name)}-{_slug(task)}.jsonl"


def roles(num_students: int, num_baselines: int) -> list[str]:
    """Of the teacher, the students and the baselines, in this order, as their files name them."""
    return ["teacher", *_numbered("student", num_students), *_numbered("baseline", num_baselines)]


def read_student(folder: Path, retention: Retention, ref: str) -> dict[str, Sequence[Sample]]:
    """A student's documents by task; a task whose file is not there is left out.

    Raises:
        ArtifactError: a file cannot be read, or a line is not a sample.
    """
    place = [student.ref for student in retention.students].index(ref)
    role = roles(len(retention.students), 0)[1 + place]
    paths = {task.task: folder / file_name(role, ref, task.task) for task in retention.tasks}
    return {task: _read(path) for task, path in paths.items() if path.is_file()}


def read_changed(retention: Retention, folder: Path) -> tuple[Changed, ...]:
    """What changed on every task of every student whose documents lie in the folder, student by student.

    Raises:
        ArtifactError: a file cannot be read, or is not of this comparison.
    """
    from distill_eval.report.flips import changed, counted

    found: list[Changed] = []
    for role, student in zip(roles(len(retention.students), 0)[1:], retention.students, strict=True):
        for entry in counted(retention, student.ref):
            files = [
                folder / file_name("teacher", retention.teacher.ref, entry.task),
                folder / file_name(role, student.ref, entry.task),
            ]
            if all(path.is_file() for path in files):
                teacher, own = (_read(path) for path in files)
                found.append(changed(entry, teacher, own, source=" and ".join(map(str, files))))
    return tuple(found)


def _read(path: Path) -> list[Sample]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    return [from_json(Sample, line, source=f"{path}, line {number}") for number, line in enumerate(lines, start=1)]


def _numbered(role: str, number: int) -> list[str]:
    """The role for each of so many models, with a number where there are several."""
    return [f"{role}{place if number > 1 else ''}" for place in range(1, number + 1)]


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)
