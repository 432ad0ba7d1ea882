"""The models that artifacts name, with what identifies them, and the teacher among them."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from distill_eval.errors import ArtifactError, NotComparableError, boundary
from distill_eval.pipeline.collect import SCHEMAS, Artifact, of
from distill_eval.pipeline.joined import SURE, Mention, Model, common, join, normal
from distill_eval.report.sections import short_names
from distill_eval.schema.bench import BenchRun
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.export import ExportRun
from distill_eval.schema.fidelity import Fidelity, ModelSaid
from distill_eval.schema.model import ModelFacts
from distill_eval.schema.quant import QuantRun
from distill_eval.schema.report import Role
from distill_eval.schema.retention import Retention
from distill_eval.schema.student import StudentInit


class Named(NamedTuple):
    """The models of a report."""

    models: dict[str, Model]
    """By short name, the teacher first; without assistants that nothing measured."""
    names: dict[str, str]
    """From every name that an artifact has for a model to its short name."""
    made: dict[str, str]
    """From an artifact of one model (training, variant) to that model's short name."""

    @property
    def teacher(self) -> str:
        """Its short name."""
        return next(iter(self.models))


def named(artifacts: Sequence[Artifact]) -> Named:
    """Join what the artifacts name.

    Raises:
        ArtifactError: nothing that was found names a teacher.
        NotComparableError: the artifacts do not belong together.
    """
    mentions = [mention for one in artifacts for mention in _mentions(one, artifacts)]
    models = list(join(_with_teacher(mentions, artifacts)))
    _refuse_teachers(models, of(artifacts, Retention))
    models.sort(key=lambda model: ("teacher", "student", "baseline").index(model.role))
    short = short_names([model.ref for model in models])
    by_name = {short[model.ref]: model for model in models}
    every = [(name, mention) for name, model in by_name.items() for mention in model.mentions]
    taught = _assistants(by_name, artifacts)
    return Named(
        models={name: model for name, model in by_name.items() if name not in taught},
        names={ref: name for name, mention in every for ref in mention.refs},
        made={mention.where: name for name, mention in every},
    )


def _assistants(models: Mapping[str, Model], artifacts: Sequence[Artifact]) -> set[str]:
    """Models of which only their own artifacts tell, and by which others of the report were trained.

    They are steps on the way and nobody meant to ship them; one that was measured stands in the table.
    """
    measured = {one.where for one in artifacts if isinstance(one.record, Retention | Fidelity | BenchRun)}
    teachers = {str(teacher) for run in of(artifacts, DistillRun).values() for teacher in run.teachers}
    return {
        name
        for name, model in models.items()
        if model.role == "student"
        and not any(mention.where in measured for mention in model.mentions)
        and any(_is_same(ref, teacher) for ref in model.refs for teacher in teachers)
    }


def _is_same(ref: str, other: str) -> bool:
    """Whether two names are of one model beyond doubt."""
    return normal(ref) == normal(other) or common(ref, other) >= SURE


def _mentions(one: Artifact, artifacts: Sequence[Artifact]) -> Iterator[Mention]:
    said = one.record
    if isinstance(said, Retention):
        yield _facts(said.teacher, one.where, "teacher")
        yield from (_facts(model, one.where, "student") for model in said.students)
        yield from (_facts(model, one.where, "baseline") for model in said.baselines)
    elif isinstance(said, Fidelity):
        yield from (_said(model, one.where) for model in (said.reference, *(its.model for its in said.candidates)))
    elif isinstance(said, BenchRun):
        for model in said.models:
            yield Mention((model.ref,), one.where, None, size_bytes=model.memory.weights_bytes)
    elif isinstance(said, DistillRun):
        role: Role = "baseline" if said.baseline else "student"
        yield Mention(_folders(one), one.where, role, size_bytes=said.size_bytes)
    elif isinstance(said, QuantRun):
        yield Mention(_folders(one), one.where, "student", size_bytes=said.size_bytes)
    elif isinstance(said, ExportRun):
        yield Mention(_folders(one), one.where, "student", size_bytes=said.graph.size_bytes)
    elif isinstance(said, StudentInit) and not _trained(one, artifacts):
        yield Mention(_folders(one), one.where, "student", size_bytes=said.student_size_bytes)


def _facts(model: ModelFacts, where: str, role: Role) -> Mention:
    return Mention((model.ref,), where, role, weights_digest=model.weights_digest, size_bytes=model.size_bytes)


def _said(model: ModelSaid, where: str) -> Mention:
    return Mention((model.ref,), where, None, files_digest=model.digest, size_bytes=model.size_bytes)


def _folders(one: Artifact) -> tuple[str, ...]:
    """Where a model is that its own artifact tells of: as its command named it, and the folder of the artifact."""
    said = output_of(one)
    usual = posixpath.basename(one.where) == f"{one.kind}.json"
    found = (*((said,) if said else ()), *((posixpath.dirname(one.where),) if usual else ()))
    return found or (posixpath.splitext(one.where)[0],)


def output_of(one: Artifact) -> str | None:
    """The output folder in the command that made an artifact; `None` where a whole recipe or chain made it."""
    with boundary(ArtifactError, f"{one.file}: the command that made it cannot be read"):
        words = shlex.split(one.record.provenance.command)
    if len(words) < 2 or words[1] != SCHEMAS[one.kind].verb:
        return None
    pairs = [(word.partition("=")[0], word.partition("=")[2] or after) for word, after in pairwise([*words, ""])]
    if any(option == "--chain" for option, _ in pairs):
        return None
    return next((value for option, value in reversed(pairs) if option == "--output-dir"), None)


def _trained(one: Artifact, artifacts: Sequence[Artifact]) -> bool:
    """Whether a student as it was prepared was then trained: then it is the beginning of a model, and none itself."""
    folders = {posixpath.basename(normal(ref)) for ref in _folders(one)}
    beside = posixpath.dirname(one.where)
    return any(
        posixpath.dirname(where) == beside or posixpath.basename(normal(run.student.name)) in folders
        for where, run in of(artifacts, DistillRun).items()
    )


def _with_teacher(mentions: Sequence[Mention], artifacts: Sequence[Artifact]) -> list[Mention]:
    """The mentions with one that says which the teacher is, where no comparison does."""
    if any(mention.role == "teacher" for mention in mentions):
        return list(mentions)
    # A variant's original is a teacher only where nothing says of what that one is the student.
    for artifact in sorted(artifacts, key=lambda one: isinstance(one.record, (QuantRun, ExportRun))):
        said, where = artifact.record, artifact.where
        if isinstance(said, Fidelity):
            teacher = _said(said.reference, where)
        elif isinstance(said, BenchRun) and said.models:
            teacher = Mention((said.models[0].ref,), where, None, size_bytes=said.models[0].memory.weights_bytes)
        elif isinstance(said, DistillRun) and said.teachers:
            teacher = Mention((str(said.teachers[0]),), where, None)
        elif isinstance(said, StudentInit):
            teacher = Mention((str(said.teacher),), where, None, size_bytes=said.teacher_size_bytes)
        elif isinstance(said, QuantRun):
            teacher = Mention((str(said.model),), where, None, size_bytes=said.size_bytes_original)
        elif isinstance(said, ExportRun):
            teacher = Mention((str(said.model),), where, None, size_bytes=said.original_size_bytes)
        else:
            continue
        return [teacher._replace(role="teacher"), *mentions]
    raise ArtifactError(
        "none of these artifacts names a model: expected one of a comparison, a benchmark, a training or a variant, "
        "e.g. distill-eval report runs/smoke"
    )


def _refuse_teachers(models: Sequence[Model], compared: Collection[str]) -> None:
    """Refuse two teachers, and a teacher that a comparison has as a student too.

    How a teacher was made, by a training or by quantization, takes nothing from its being one.
    """
    teachers = [model for model in models if model.role == "teacher"]
    if len(teachers) > 1:
        said = " and ".join(f"{model.ref} ({model.mentions[0].where})" for model in teachers)
        raise NotComparableError(
            f"these runs have different teachers, by their weights: {said}. Name runs of one teacher"
        )
    others = (mention for mention in teachers[0].mentions if mention.role in ("student", "baseline"))
    twice = next((mention for mention in others if mention.where in compared), None)
    if twice is not None:
        raise NotComparableError(
            f"{twice.refs[0]} is the teacher and a {twice.role} ({twice.where}): a report has a row for each model, "
            f"expected others than the teacher itself"
        )
