"""Everything that artifacts say of one teacher and its variants, joined: what every form of a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from distill_eval.errors import ArtifactError, boundary
from distill_eval.pipeline.collect import Artifact, Collected, of, search
from distill_eval.pipeline.mentioned import named
from distill_eval.pipeline.remarks import remarks
from distill_eval.pipeline.rows import entries_by_student, rows
from distill_eval.pipeline.speeds import table_load
from distill_eval.plan.checks import Measured, checks
from distill_eval.record import from_json
from distill_eval.report.decision import verdict
from distill_eval.report.frontier import choose, with_frontier
from distill_eval.schema.bench import BenchRun
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.export import ExportRun
from distill_eval.schema.fidelity import Fidelity
from distill_eval.schema.gate import RuleResult
from distill_eval.schema.plan import Check, Plan
from distill_eval.schema.quant import QuantRun
from distill_eval.schema.recipe import RecipeRun
from distill_eval.schema.report import Report, Source
from distill_eval.schema.retention import Entry, Provenance, Retention
from distill_eval.schema.student import StudentInit
from distill_eval.schema.teacher_cache import MANIFEST, CacheManifest


class Gathered(NamedTuple):
    """A report and the artifacts that it was made of; these by `Source.path`, if nothing else is said."""

    report: Report
    retentions: dict[str, Retention]
    fidelities: dict[str, Fidelity]
    benches: dict[str, BenchRun]
    trainings: dict[str, DistillRun]
    """By the short name of the model that was trained."""
    students: dict[str, StudentInit]
    quants: dict[str, QuantRun]
    exports: dict[str, ExportRun]
    names: dict[str, str]
    """From every name that an artifact has for a model to its short name in the report."""
    models: dict[str, str]
    """From the artifact of one model (a student, a variant) to that model's short name."""
    made: dict[str, Provenance]
    """How each artifact was made."""
    entries: dict[str, list[Entry]]
    """By the short name of a student that was judged, what its verdict rests on: each task once."""
    checks: dict[str, tuple[Check, ...]]
    """What each plan said beside what was measured."""
    folders: tuple[Path, ...]
    """In which the artifacts are."""
    files: dict[str, Path]
    """Each artifact on disk, e.g. for the samples beside a `retention.json`."""


def gather(runs: Sequence[Path], *, provenance: Provenance) -> Gathered:
    """Collect, join and judge; `decided` judges again where there are rules to keep.

    Args:
        runs: Folders of runs, or artifact files.
        provenance: Of the report.

    Raises:
        UsageError: a folder is not there.
        ArtifactError: an artifact is missing, damaged, edited or of another version.
        NotComparableError: the runs do not belong together.
    """
    return put_together(search(runs), provenance=provenance)


def put_together(collected: Collected, *, provenance: Provenance) -> Gathered:
    """As `gather`, of what was collected."""
    artifacts, foreign = collected
    models = named(artifacts)
    benches = of(artifacts, BenchRun)
    entries = entries_by_student(artifacts, models)
    made = rows(artifacts, models, entries)
    load = table_load(benches) or next((speed.load for row in made for speed in row.speeds), None)
    variants = with_frontier(made, load)
    report = Report(
        verdict="",
        ship=None,
        variants=variants,
        load=load,
        gate=(),
        findings=remarks(artifacts, models, variants, load, entries, foreign),
        recipe=_recipe(of(artifacts, RecipeRun)),
        sources=tuple(_source(one) for one in artifacts if one.kind != "run"),
        provenance=provenance,
    )
    trainings = {models.made[where]: run for where, run in of(artifacts, DistillRun).items()}
    found = Gathered(
        report=report,
        retentions=of(artifacts, Retention),
        fidelities=of(artifacts, Fidelity),
        benches=benches,
        trainings=trainings,
        students=of(artifacts, StudentInit),
        quants=of(artifacts, QuantRun),
        exports=of(artifacts, ExportRun),
        names=models.names,
        models={one.where: models.made[one.where] for one in artifacts if _is_of_one(one) and one.where in models.made},
        made={one.where: one.record.provenance for one in artifacts},
        entries=entries,
        checks={where: checks(plan, _measured(artifacts)) for where, plan in of(artifacts, Plan).items()},
        folders=tuple(dict.fromkeys(one.file.parent for one in artifacts)),
        files={one.where: one.file for one in artifacts},
    )
    return decided(found, ())


def decided(found: Gathered, gate: tuple[RuleResult, ...]) -> Gathered:
    """The same with what is to be shipped, given how the rules of a gate were judged."""
    report = found.report
    best = choose(report.variants, report.load, gate)
    said = verdict(report.variants, found.entries, report.load, gate)
    return found._replace(report=replace(report, gate=gate, ship=best.name if best else None, verdict=said))


def _measured(artifacts: Sequence[Artifact]) -> Measured:
    return Measured(
        students=of(artifacts, StudentInit),
        trainings=of(artifacts, DistillRun),
        quants=of(artifacts, QuantRun),
        retentions=of(artifacts, Retention),
        benches=of(artifacts, BenchRun),
        recipes=of(artifacts, RecipeRun),
        caches=_caches(artifacts),
    )


def _caches(artifacts: Sequence[Artifact]) -> dict[str, CacheManifest]:
    """What runs kept of their teachers, which lies too deep among its rows to be looked for."""
    found = {}
    for one in artifacts:
        stages = one.record.stages if isinstance(one.record, RecipeRun) else ()
        for stage in stages:
            manifest = one.file.parent / stage.folder / MANIFEST
            if (stage.stage, stage.status) == ("cache-teacher", "done") and manifest.is_file():
                where = f"{PurePosixPath(one.where).parent}/{stage.folder}/{MANIFEST}"
                with boundary(ArtifactError, f"cannot read {manifest}"):
                    found[where] = from_json(CacheManifest, manifest.read_bytes(), source=str(manifest))
    return found


def _is_of_one(one: Artifact) -> bool:
    return isinstance(one.record, DistillRun | StudentInit | QuantRun | ExportRun)


def _recipe(runs: Mapping[str, RecipeRun]) -> str | None:
    texts = list(dict.fromkeys(run.recipe for run in runs.values()))
    if len(texts) < 2:
        return texts[0] if texts else None
    return "\n".join(f"# {where}\n{run.recipe}" for where, run in runs.items())


def _source(one: Artifact) -> Source:
    return Source(kind=one.kind, path=one.where, digest=one.digest, command=one.record.provenance.command or None)
