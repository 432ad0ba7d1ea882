"""How to repeat what a report joins: commands, recipe, versions, hardware, seeds, revisions of the data."""

from __future__ import annotations

from collections.abc import Mapping

from distill_eval.report import escape
from distill_eval.report.markdown import conditions, task_facts
from distill_eval.report.sections import folded, plain_table
from distill_eval.schema.report import Report
from distill_eval.schema.retention import Provenance, Retention

IN_ORDER = ("run", "student", "distill", "quant", "export", "retention", "fidelity", "bench")
"""Kinds of artifacts as they are made: a model first, then what was measured of it."""


def how_to_repeat(report: Report, retentions: Mapping[str, Retention], made: Mapping[str, Provenance]) -> list[str]:
    """The sections.

    Args:
        report: What was joined.
        retentions: The comparisons, by where they were found.
        made: How each artifact was made, by where it was found.
    """
    sources = sorted(report.sources, key=lambda source: IN_ORDER.index(source.kind))
    commands = list(dict.fromkeys(source.command for source in sources if source.command))
    sections = [
        "## How to repeat this",
        escape.code_block("\n".join([*commands, report.provenance.command]), language="sh"),
    ]
    if report.recipe is not None:
        sections += ["The recipe:", escape.code_block(report.recipe.rstrip("\n"), language="toml")]
    sections += [_sources(report, made), *_conditions(retentions), _versions(made)]
    return sections


def _sources(report: Report, made: Mapping[str, Provenance]) -> str:
    table = {
        "artifact": [escape.text(source.path) for source in report.sources],
        "SHA-256": [source.digest[:12] for source in report.sources],
        "distill-eval commit": [
            escape.text(made[source.path].git_commit or "not a checkout") for source in report.sources
        ],
        "hardware": [escape.text(made[source.path].hardware) for source in report.sources],
    }
    return folded(plain_table(table), len(report.sources))


def _conditions(retentions: Mapping[str, Retention]) -> list[str]:
    """Seeds and settings of the comparisons, and the data."""
    found = []
    for where, run in retentions.items():
        tasks = plain_table(task_facts(run), numeric=frozenset({"shots"}))
        found += [f"{escape.name(where)}:", conditions(run), folded(tasks, len(run.tasks))]
    return found


def _versions(made: Mapping[str, Provenance]) -> str:
    """A package per row; where artifacts were made with different versions, all of them."""
    packages = sorted({package for one in made.values() for package in one.versions})

    def seen(package: str) -> str:
        versions = dict.fromkeys(one.versions[package] for one in made.values() if package in one.versions)
        return ", ".join(escape.text(version) for version in versions)

    return plain_table(
        {"package": [escape.text(package) for package in packages], "version": [seen(p) for p in packages]}
    )
