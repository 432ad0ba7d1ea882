"""How to repeat what a report joins: commands, recipe, versions, hardware, seeds, revisions of the data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from distill_eval.report import escape
from distill_eval.report.markdown import conditions, task_facts
from distill_eval.report.sections import folded, plain_table
from distill_eval.schema.report import Report
from distill_eval.schema.retention import Provenance, Retention

IN_ORDER = ("plan", "run", "student", "distill", "quant", "export", "retention", "fidelity", "bench")
"""Kinds of artifacts as they are made: a model first, then what was measured of it."""


def how_to_repeat(report: Report, retentions: Mapping[str, Retention], made: Mapping[str, Provenance]) -> list[str]:
    """The sections.

    Args:
        report: What was joined.
        retentions: The comparisons, by where they were found.
        made: How each artifact was made, by where it was found.
    """
    sections = ["## How to repeat this", escape.code_block("\n".join(commands(report)), language="sh")]
    if report.recipe is not None:
        sections += ["The recipe:", escape.code_block(report.recipe.rstrip("\n"), language="toml")]
    artifacts = folded(plain_table(_escaped(sources(report, made))), len(report.sources))
    sections += [artifacts, *_conditions(retentions), plain_table(_escaped(versions(made.values())))]
    return sections


def commands(report: Report) -> list[str]:
    """What was typed, in the order in which artifacts are made; the report's own command is the last."""
    in_order = sorted(report.sources, key=lambda source: IN_ORDER.index(source.kind))
    return [*dict.fromkeys(source.command for source in in_order if source.command), report.provenance.command]


def sources(report: Report, made: Mapping[str, Provenance]) -> dict[str, list[str]]:
    """The artifacts, a row each, as unescaped columns."""
    found = [made[source.path] for source in report.sources]
    return {
        "artifact": [source.path for source in report.sources],
        "SHA-256": [source.digest[:12] for source in report.sources],
        "distill-eval commit": [one.git_commit or "not a checkout" for one in found],
        "hardware": [one.hardware for one in found],
    }


def versions(made: Collection[Provenance]) -> dict[str, list[str]]:
    """A package per row; where artifacts were made with different versions, all of them; unescaped."""
    packages = sorted({package for one in made for package in one.versions})
    seen = [dict.fromkeys(one.versions[name] for one in made if name in one.versions) for name in packages]
    return {"package": packages, "version": [", ".join(each) for each in seen]}


def _conditions(retentions: Mapping[str, Retention]) -> list[str]:
    """Seeds and settings of the comparisons, and the data."""
    found = []
    for where, run in retentions.items():
        tasks = plain_table(task_facts(run), numeric=frozenset({"shots"}))
        found += [f"{escape.name(where)}:", conditions(run), folded(tasks, len(run.tasks))]
    return found


def _escaped(table: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {heading: [escape.text(cell) for cell in cells] for heading, cells in table.items()}
