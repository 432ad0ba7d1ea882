"""The two runs of a diff: what is in their folders, and which student of one is which of the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from distill_eval.errors import NotComparableError, unknown
from distill_eval.pipeline.collect import holds_artifacts, search
from distill_eval.pipeline.gathered import put_together
from distill_eval.record import from_json
from distill_eval.schema.diff import Side
from distill_eval.schema.report import Report, Variant
from distill_eval.schema.retention import Provenance, Retention

REPORT = "report.json"


class Comparison(NamedTuple):
    """A comparison and the folder that has its documents."""

    folder: Path
    retention: Retention


class Run(NamedTuple):
    """One of the two."""

    side: Side
    teacher: Variant
    students: tuple[Variant, ...]
    comparisons: tuple[Comparison, ...]
    """Empty of a report's own folder, which has no documents."""
    names: Mapping[str, str]
    """From a model as an artifact names it to its short name."""

    def of(self, student: Variant) -> list[tuple[Comparison, str]]:
        """The comparisons that have this student, with its name in them."""
        return [
            (one, model.ref)
            for one in self.comparisons
            for model in one.retention.students
            if self.names[model.ref] == student.name
        ]


def read_run(path: Path, provenance: Provenance) -> Run:
    """What a folder says: of its artifacts, or of the report that it holds where that is all.

    Raises:
        UsageError: there is no such folder.
        ArtifactError: there is neither, or a file is damaged or of another version.
        NotComparableError: its artifacts do not belong together.
    """
    report = path / REPORT if path.is_dir() else path
    if report.name == REPORT and report.is_file() and not holds_artifacts(path):
        return _of_report(path, report)
    collected = search([path])
    found = put_together(collected, provenance=provenance)
    digests = "".join(one.digest for one in collected.artifacts)
    return Run(
        side=_side(path, digests, found.report.variants[0]),
        teacher=found.report.variants[0],
        students=_students(found.report.variants),
        comparisons=tuple(
            Comparison(found.files[where].parent, retention) for where, retention in found.retentions.items()
        ),
        names=found.names,
    )


def _of_report(path: Path, file: Path) -> Run:
    data = file.read_bytes()
    said = from_json(Report, data, source=str(file))
    return Run(
        side=_side(path, hashlib.sha256(data).hexdigest(), said.variants[0]),
        teacher=said.variants[0],
        students=_students(said.variants),
        comparisons=(),
        names={},
    )


def _side(path: Path, digests: str, teacher: Variant) -> Side:
    return Side(path=str(path), digest=hashlib.sha256(digests.encode()).hexdigest(), teacher=teacher.ref)


def _students(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    return tuple(variant for variant in variants if variant.role == "student")


def require_same_teacher(before: Run, after: Run) -> None:
    """Refuse runs of different teachers, by weights where a comparison knows them, else by name and size.

    Raises:
        NotComparableError: they differ.
    """
    if before.comparisons and after.comparisons:
        return  # `require_alike` has their digests
    old, new = before.teacher, after.teacher
    sizes = {old.size_bytes, new.size_bytes} - {None}
    if old.name != new.name or len(sizes) > 1:
        raise NotComparableError(
            f"the teachers are not the same: {old.ref} in {before.side.path}, {new.ref} in {after.side.path}. Name two "
            "runs of one teacher"
        )


def matched(before: Run, after: Run, named: tuple[str | None, str | None]) -> list[tuple[Variant, Variant]]:
    """The students of both, by name; where each run has one, these two whatever their names.

    Args:
        before: The earlier run.
        after: The later one.
        named: What --student-a and --student-b say.

    Raises:
        UsageError: a name is not a student's.
        NotComparableError: no student of one is in the other.
    """
    for run in (before, after):
        if not run.students:
            raise NotComparableError(f"{run.side.path} has no student: expected the folder of a comparison or a report")
    if named[0] is not None and named[1] is not None:
        return [(_student(before, "--student-a", named[0]), _student(after, "--student-b", named[1]))]
    if len(before.students) == len(after.students) == 1:
        return [(before.students[0], after.students[0])]
    pairs = list(_by_name(before.students, after.students))
    if not pairs:
        raise NotComparableError(
            f"no student is in both runs by its name: {_listed(before)} in {before.side.path}, {_listed(after)} in "
            f"{after.side.path}. Say which to compare, e.g. --student-a {before.students[0].name} --student-b "
            f"{after.students[0].name}"
        )
    return pairs


def _by_name(before: Sequence[Variant], after: Sequence[Variant]) -> Iterator[tuple[Variant, Variant]]:
    later = {variant.name: variant for variant in after}
    yield from ((variant, later[variant.name]) for variant in before if variant.name in later)


def _student(run: Run, option: str, name: str) -> Variant:
    known = {key: student for student in run.students for key in (student.ref, student.name)}
    if name not in known:
        unknown(f"{option} in {run.side.path}:", name, known)
    return known[name]


def _listed(run: Run) -> str:
    return ", ".join(student.name for student in run.students)
