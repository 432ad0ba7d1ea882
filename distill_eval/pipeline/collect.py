"""Artifacts below the folders of runs: found by name or schema, read strictly, checked against what a run recorded."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from distill_eval.errors import ArtifactError, UsageError, boundary
from distill_eval.pipeline.behind import left_behind
from distill_eval.record import from_json
from distill_eval.schema import bench, distill, export, fidelity, plan, quant, recipe, retention, student
from distill_eval.schema.bench import BenchRun
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.export import ExportRun
from distill_eval.schema.fidelity import Fidelity
from distill_eval.schema.plan import Plan
from distill_eval.schema.quant import QuantRun
from distill_eval.schema.recipe import RecipeRun
from distill_eval.schema.report import Kind
from distill_eval.schema.retention import Retention
from distill_eval.schema.student import StudentInit

Record = Retention | Fidelity | BenchRun | DistillRun | QuantRun | ExportRun | StudentInit | Plan | RecipeRun
T = TypeVar("T", bound=Record)


class _Schema(NamedTuple):
    cls: type[Record]
    version: int
    verb: str


SCHEMAS: Mapping[str, _Schema] = {
    "retention": _Schema(Retention, retention.SCHEMA_VERSION, "compare"),
    "fidelity": _Schema(Fidelity, fidelity.SCHEMA_VERSION, "fidelity"),
    "bench": _Schema(BenchRun, bench.SCHEMA_VERSION, "bench"),
    "distill": _Schema(DistillRun, distill.SCHEMA_VERSION, "distill"),
    "quant": _Schema(QuantRun, quant.SCHEMA_VERSION, "quantize"),
    "export": _Schema(ExportRun, export.SCHEMA_VERSION, "export"),
    "student": _Schema(StudentInit, student.SCHEMA_VERSION, "prepare"),
    "plan": _Schema(Plan, plan.SCHEMA_VERSION, "plan"),
    "run": _Schema(RecipeRun, recipe.SCHEMA_VERSION, "run"),
}
"""By kind, in the order in which they name models; a kind's file is `KIND.json`, unless somebody renamed it."""
DEEPEST = 4
"""Folders below a run's in which artifacts are looked for: a chain's run has two, a folder of runs one more."""
_PASSED = ("checkpoint", "samples", "teacher-cache")
_PREFIX = "distill-eval/"
_SCHEMA = re.compile(rb'\s*\{\s*"schema"\s*:\s*"distill-eval/([a-z_-]+)"')
_BEGINNING = 200
"""Bytes of a file in which its schema stands, being the first of its fields."""


class Artifact(NamedTuple):
    """A file of ours, read."""

    kind: Kind
    file: Path
    where: str
    """As `Source.path` has it."""
    digest: str
    record: Record


class Collected(NamedTuple):
    """What was found."""

    artifacts: tuple[Artifact, ...]
    foreign: tuple[str, ...]
    """Where there is a file of an artifact's name that is none of ours, e.g. the `run.json` of another program."""


def collect(runs: Sequence[Path]) -> tuple[Artifact, ...]:
    """The artifacts of `search` alone."""
    return search(runs).artifacts


def search(runs: Sequence[Path]) -> Collected:
    """Every artifact of the runs, each once, ordered by kind and then as the runs were named.

    Where a recipe was run, without what it left behind (`left_behind`).

    Args:
        runs: Folders, searched a few levels deep, or artifact files.

    Raises:
        UsageError: there is no such folder, or none was named.
        ArtifactError: a folder has no artifact, or one is damaged, edited or of another version.
    """
    if not runs:
        raise UsageError("report: expected the folder of a run, e.g. distill-eval report runs/smoke")
    files: dict[Path, str] = {}
    for run, label in zip(runs, _labels(runs), strict=True):
        top = run if run.is_dir() else run.parent
        for file in _files(run):
            files.setdefault(file.resolve(), f"{label}/{file.relative_to(top).as_posix()}")
    kinds = list(SCHEMAS)
    named = {run.resolve() for run in runs}
    foreign = {file: where for file, where in files.items() if file not in named and is_foreign(file)}
    read = _without_left_behind([_read(file, where) for file, where in files.items() if file not in foreign])
    if not read:
        raise ArtifactError(
            f"{', '.join(map(str, foreign))} {'is' if len(foreign) == 1 else 'are'} of another program, and there is "
            f"no artifact beside: expected the folder of a run, e.g. distill-eval report runs/smoke"
        )
    _check_recorded(read)
    return Collected(tuple(sorted(read, key=lambda one: kinds.index(one.kind))), tuple(foreign.values()))


def holds_artifacts(run: Path) -> bool:
    """Whether a folder has files of artifacts below it, whether they can be read or not."""
    return run.is_dir() and bool(_in_folder(run))


def of(artifacts: Sequence[Artifact], cls: type[T]) -> dict[str, T]:
    """The records of one kind, by where they were found."""
    return {one.where: one.record for one in artifacts if isinstance(one.record, cls)}


def _labels(runs: Sequence[Path]) -> list[str]:
    """The folders' names, with as many of those above them as tell them apart."""
    tops = [(run if run.is_dir() else run.parent).resolve() for run in runs]
    labels = []
    for top in tops:
        others = {other for other in tops if other != top}
        num = next(num for num in range(1, len(top.parts) + 1) if all(_last(top, num) != _last(o, num) for o in others))
        labels.append(_last(top, num))
    return labels


def _last(path: Path, num: int) -> str:
    return "/".join(path.parts[-num:]).strip("/")


def _files(run: Path) -> list[Path]:
    if run.is_file():
        return [run]
    if not run.is_dir():
        raise UsageError(f"{run}: no such folder or file; expected that of a run, e.g. runs/smoke")
    found = _in_folder(run)
    if not found:
        made = ", ".join(f"{kind}.json ({schema.verb})" for kind, schema in SCHEMAS.items())
        raise ArtifactError(f"{run} holds no artifact: expected one of {made}, each written by `distill-eval` VERB")
    return found


def _in_folder(run: Path) -> list[Path]:
    with boundary(ArtifactError, f"cannot look for artifacts in {run}"):
        return list(_below(run, DEEPEST))


def _below(folder: Path, levels: int) -> Iterator[Path]:
    usual = [folder / f"{kind}.json" for kind in SCHEMAS]
    yield from (path for path in usual if path.is_file())
    others = sorted(set(folder.glob("*.json")) - set(usual))
    yield from (path for path in others if path.is_file() and _begins_as_ours(path))
    if levels:
        for inner in sorted(folder.iterdir()):
            passed = inner.name.startswith((".", *_PASSED)) or ".replaced-" in inner.name
            if inner.is_dir() and not inner.is_symlink() and not passed:
                yield from _below(inner, levels - 1)


def _begins_as_ours(file: Path) -> bool:
    """Whether a file under a name of its own is an artifact; a model's folder has JSON of many megabytes too."""
    with boundary(ArtifactError, f"cannot read {file}"), file.open("rb") as opened:
        found = _SCHEMA.match(opened.read(_BEGINNING))
    return found is not None and found[1].decode() in SCHEMAS


def is_foreign(file: Path) -> bool:
    """Whether it is whole JSON that says nothing of us."""
    with boundary(ArtifactError, f"cannot read {file}"):
        data = file.read_bytes()
    return not str(_said(data, file).get("schema")).startswith(_PREFIX)


def _said(data: bytes, file: Path) -> dict[str, object]:
    """A file's fields; none where it is no object."""
    with boundary(ArtifactError, f"{file} is not JSON"):
        said = json.loads(data)
    return said if isinstance(said, dict) else {}


def _read(file: Path, where: str) -> Artifact:
    with boundary(ArtifactError, f"cannot read {file}"):
        data = file.read_bytes()
    kind = _kind(data, file)
    read = from_json(SCHEMAS[kind].cls, data, source=str(file))
    return Artifact(kind, file, where, hashlib.sha256(data).hexdigest(), read)


def _kind(data: bytes, file: Path) -> Kind:
    said = _said(data, file)
    schema, version = said.get("schema"), said.get("version")
    kind = str(schema).removeprefix(_PREFIX)
    if kind not in SCHEMAS or not str(schema).startswith(_PREFIX):
        raise ArtifactError(
            f"{file} is not an artifact that a report reads: its schema is {schema!r}, expected distill-eval/ and one "
            f"of {', '.join(SCHEMAS)}. Move it away, or name the artifacts' files themselves"
        )
    known = SCHEMAS[kind]
    if version != known.version:
        raise ArtifactError(
            f"{file} is of schema version {version}, and this distill-eval reads version {known.version}: make it "
            f"again with distill-eval {known.verb}, or use the distill-eval that wrote it"
        )
    return kind  # type: ignore[return-value]  # a key of SCHEMAS


def _without_left_behind(read: Sequence[Artifact]) -> list[Artifact]:
    runs = [(one.file.parent, one.record) for one in read if isinstance(one.record, RecipeRun)]
    behind = {root / folder for root, run in runs for folder in left_behind(run)}
    return [one for one in read if one.file.parent not in behind]


def _check_recorded(read: Sequence[Artifact]) -> None:
    """Refuse an artifact that is not what the recipe's run has on record."""
    by_file = {one.file: one for one in read}
    for run in read:
        if not isinstance(run.record, RecipeRun):
            continue
        for stage in run.record.stages:
            for name, known in stage.files.items():
                one = by_file.get((run.file.parent / stage.folder / name).resolve())
                if one is not None and one.digest != known:
                    raise ArtifactError(
                        f"{one.file} was edited by hand, or written again by another command: its SHA-256 is "
                        f"{one.digest[:12]}, and {run.file} has {known[:12]} on record. Run the recipe again"
                    )
