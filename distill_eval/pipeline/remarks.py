"""What a reader must know before believing the one table: findings of artifacts, and of laying them side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from distill_eval.pipeline.classified import classified, remarks_on_labels
from distill_eval.pipeline.collect import Artifact, of
from distill_eval.pipeline.mentioned import Named
from distill_eval.pipeline.speeds import apart, benched
from distill_eval.recipe.known import VARIANTS
from distill_eval.report import numbers
from distill_eval.report.bench_rows import speedup
from distill_eval.report.decision import unasked
from distill_eval.schema.bench import BenchRun
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.quant import QuantRun
from distill_eval.schema.recipe import RecipeRun
from distill_eval.schema.report import Variant
from distill_eval.schema.retention import WEIGHTS, Entry, Finding, Retention

REPORT = "report"
"""The step of a recipe that makes the report itself, and so is not done yet."""


def remarks(
    artifacts: Sequence[Artifact],
    named: Named,
    rows: Sequence[Variant],
    load: str | None,
    entries: Mapping[str, Sequence[Entry]],
    foreign: Sequence[str] = (),
) -> tuple[Finding, ...]:
    """All findings, the heaviest first.

    Args:
        artifacts: All that were found.
        named: The models in them.
        rows: Of the table.
        load: Of the table.
        entries: Of `entries_by_student`.
        foreign: Files that were passed over, being none of ours.
    """
    found = [
        *_unfinished(artifacts),
        *_on_other_tasks(entries),
        *_asked_otherwise(of(artifacts, Retention)),
        *_of_comparisons(artifacts, named),
        *_of_benches(artifacts, named, load),
        *_on_two_engines(artifacts, named),
        *_of_models(artifacts, named),
        *remarks_on_labels(classified(artifacts, named)),
        *_other_engines(rows),
        *_joined_by_name(named),
        *_several_commits(artifacts),
        *_passed_over(foreign),
    ]
    return tuple(sorted(_merged(found), key=lambda finding: WEIGHTS.index(finding.weight)))


def _merged(found: Sequence[Finding]) -> list[Finding]:
    """What is said of several subjects in the same words is said once."""
    subjects: dict[tuple[str, str], list[Finding]] = {}
    for finding in found:
        subjects.setdefault((finding.weight, finding.text), []).append(finding)
    return [
        replace(same[0], subject=", ".join(dict.fromkeys(finding.subject for finding in same)))
        for same in subjects.values()
    ]


def _unfinished(artifacts: Sequence[Artifact]) -> Iterator[Finding]:
    """What the recipe has and the report has not: of a variant under its name."""
    for where, run in of(artifacts, RecipeRun).items():
        for stage in run.stages:
            if stage.status != "done" and stage.name != REPORT:
                why = f": {stage.error}" if stage.error else ""
                text = f"The stage {stage.name} of {where} is {stage.status}{why}"
                variant = stage.name.partition(" ")[2] if stage.stage in VARIANTS else ""
                yield Finding(weight="high", subject=variant or "run", text=f"{text.rstrip('.')}.")


def _on_other_tasks(entries: Mapping[str, Sequence[Entry]]) -> Iterator[Finding]:
    """Where students were judged on different tasks."""
    if any(unasked(name, entries) for name in entries):
        every = len({entry.task for found in entries.values() for entry in found})
        told = ", ".join(f"{name} on {len(found)}" for name, found in entries.items())
        text = (
            f"Of {numbers.plural(every, 'task')} that were asked, not every student was judged on all: {told}. Means "
            f"over other tasks do not compare, in the table or on the frontier, and what lacks a task does not pass."
        )
        yield Finding(weight="high", subject="run", text=text)


def _asked_otherwise(retentions: Mapping[str, Retention]) -> Iterator[Finding]:
    """Where comparisons did not ask the same, so that their students stand side by side with care."""
    ways: dict[str, dict[tuple[str, int, bool, str], list[str]]] = {}
    counts: dict[str, set[int]] = {}
    for where, run in retentions.items():
        for task in run.tasks:
            way = (task.version, task.num_fewshot, run.manifest.apply_chat_template, run.manifest.dtype)
            ways.setdefault(task.task, {}).setdefault(way, []).append(where)
            counts.setdefault(task.task, set()).add(task.num_docs)
    for name, found in ways.items():
        if len(found) > 1:
            text = "; ".join(
                f"version {version}, {shots} shots{', chat template' if chat else ''}, {dtype} in {', '.join(places)}"
                for (version, shots, chat, dtype), places in found.items()
            )
            yield Finding(weight="high", subject=name, text=f"It was asked in different ways: {text}.")
    apart = {name: sizes for name, sizes in counts.items() if len(sizes) > 1}
    if apart:
        told = ", ".join(
            f"{name} ({' and '.join(f'{num:,}' for num in sorted(sizes))})" for name, sizes in apart.items()
        )
        text = f"Comparisons scored different numbers of documents, so that intervals are not alike wide: {told}."
        yield Finding(weight="medium", subject="run", text=text)


def _of_comparisons(artifacts: Sequence[Artifact], named: Named) -> Iterator[Finding]:
    retentions = of(artifacts, Retention)
    for where, run in retentions.items():
        for finding in run.findings:
            text = f"{finding.text.rstrip('.')} ({where})." if len(retentions) > 1 else finding.text
            yield replace(finding, subject=named.names.get(finding.subject, finding.subject), text=text)
        flips: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
        for one in run.parity:
            if one.unquantized_ref is not None and one.num_engine_flips is not None:
                tasks = flips.setdefault((one.unquantized_ref, one.engine), {})
                tasks[one.task or ""] = (one.num_engine_flips, one.num_docs)
        for (ref, engine), tasks in flips.items():
            num, docs = (sum(part) for part in zip(*tasks.values(), strict=True))
            text = (
                f"{num:,} of {docs:,} answers of the unquantized weights differ between transformers and {engine}: "
                f"so many flips are the engine's."
            )
            yield Finding(weight="medium", subject=named.names.get(ref, ref), text=text)


def _of_benches(artifacts: Sequence[Artifact], named: Named, load: str | None) -> Iterator[Finding]:
    for why in apart(of(artifacts, BenchRun), named).values():
        text = f"{why}: its figures stand in its own table alone, and none of them is on the frontier."
        yield Finding(weight="high", subject="speed", text=text)
    for where, run in of(artifacts, BenchRun).items():
        if not run.complete:
            yield Finding(weight="high", subject="speed", text=f"{where} ended before all of it was measured.")
        for text in run.findings:
            yield Finding(weight="medium", subject="speed", text=f"{text.rstrip('.')}.")
        ratios = [one.output_throughput_speedup for model in run.models for one in model.results]
        if any(ratio is not None and ratio.ci_low is None for ratio in ratios):
            text = f"{where} has fewer than three whole repeats: its speedups have no intervals."
            yield Finding(weight="medium", subject="speed", text=text)
        for noise in run.noise:
            if noise.load.label == load:
                text = (
                    f"{named.names[run.models[0].ref]} against itself reads {speedup(noise.ratio)} at {load} "
                    f"({where}): speedups as near to 1 say nothing."
                )
                yield Finding(weight="medium", subject="speed", text=text)


def _on_two_engines(artifacts: Sequence[Artifact], named: Named) -> Iterator[Finding]:
    """Where a model was timed on another engine than the one in the table."""
    benches = of(artifacts, BenchRun)
    shown = benched(benches, named)
    for where, run in benches.items():
        for model in run.models:
            name = named.names[model.ref]
            engine = shown[name].model.engine
            if engine != model.engine and shown[name].apart is None:
                text = f"It was timed on {model.engine} too ({where}); the table has what {engine} did."
                yield Finding(weight="medium", subject=name, text=text)


def _of_models(artifacts: Sequence[Artifact], named: Named) -> Iterator[Finding]:
    for one in artifacts:
        if isinstance(one.record, DistillRun):
            name = named.made[one.where]
            yield from (replace(finding, subject=name) for finding in one.record.findings)
            if one.record.stopped:
                yield Finding(weight="medium", subject=name, text=f"Its training ended early: {one.record.stopped}.")
        elif isinstance(one.record, QuantRun):
            for warning in one.record.warnings:
                yield Finding(weight="medium", subject=named.made[one.where], text=f"{warning.rstrip('.')}.")


def _other_engines(rows: Sequence[Variant]) -> Iterator[Finding]:
    """Where the scores are of one engine and the speed of another."""
    apart: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.engine is not None and row.bench_engine is not None and row.engine != row.bench_engine:
            apart.setdefault((row.engine, row.bench_engine), []).append(row.name)
    for (scored, timed), names in apart.items():
        verb = "was" if len(names) == 1 else "were"
        text = f"{', '.join(names)} {verb} scored on {scored} and timed on {timed}: what is fast was not scored itself."
        yield Finding(weight="medium", subject="engines", text=text)


def _joined_by_name(named: Named) -> Iterator[Finding]:
    """Where only the last part of a path says that two artifacts mean the same model."""
    for name, model in named.models.items():
        for mention in model.by_name:
            known = ", and its size is the same" if mention.size_bytes and model.mentions[0].size_bytes else ""
            text = f"{mention.refs[0]} in {mention.where} was taken for {model.ref} by its name{known}."
            yield Finding(weight="low", subject=name, text=text)


def _several_commits(artifacts: Sequence[Artifact]) -> Iterator[Finding]:
    commits = sorted({one.record.provenance.git_commit or "an installed package" for one in artifacts})
    if len(commits) > 1:
        text = (
            f"The artifacts were made by {numbers.plural(len(commits), 'state')} of distill-eval: {', '.join(commits)}."
        )
        yield Finding(weight="low", subject="run", text=text)
    dirty = [commit for commit in commits if commit.endswith("-dirty")]
    if dirty:
        text = f"{', '.join(dirty)} was a checkout with changes that no commit holds."
        yield Finding(weight="medium", subject="run", text=text)


def _passed_over(foreign: Sequence[str]) -> Iterator[Finding]:
    if foreign:
        text = f"{', '.join(foreign)} was passed over: no artifact of distill-eval, whatever its name says."
        yield Finding(weight="low", subject="run", text=text)
