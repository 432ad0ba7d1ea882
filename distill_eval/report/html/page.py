"""`report.html`: the verdict, the table of variants, charts, tasks, changed documents, findings, how to repeat."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources

from distill_eval.report import planned
from distill_eval.report.escape import clean
from distill_eval.report.flips import Changed, counted
from distill_eval.report.grounds import Grounds
from distill_eval.report.html import charts, load_charts
from distill_eval.report.html.browser import browser
from distill_eval.report.html.markup import Html, joined, tag
from distill_eval.report.html.tables import table
from distill_eval.report.markdown import ALWAYS
from distill_eval.report.repeat import commands, sources, versions
from distill_eval.report.rows import View, columns, ordered
from distill_eval.report.scores import columns as variant_columns
from distill_eval.report.scores import missing
from distill_eval.report.table import Cell, Column
from distill_eval.report.verdict import criteria
from distill_eval.schema.gate import RuleResult
from distill_eval.schema.report import Report
from distill_eval.schema.retention import WEIGHTS, Retention

NO_DOCUMENTS = (
    "The documents are not shown: their samples-*.jsonl, which distill-eval compare writes beside retention.json, are "
    "not there for every student and task."
)


def render(facts: Grounds, flips: Mapping[str, Sequence[Changed]]) -> str:
    """The whole page; the same records give the same bytes.

    Args:
        facts: What was gathered.
        flips: By the path of a retention, the changed documents whose samples were found.
    """
    sections = {
        "variants": ("Variants", _variants(facts.report)),
        "charts": ("Charts", _charts(facts)),
        "tasks": ("Task by task", _all_tasks(facts)),
        "flips": ("Documents that changed", _flips(facts, flips)),
        "planned": ("Planned and measured", _planned(facts)),
        "findings": ("Findings, heaviest first", _findings(facts.report)),
        "repeat": ("How to repeat this", _repeat(facts)),
    }
    shown = {name: section for name, section in sections.items() if section[1]}
    links = [tag("li", tag("a", title, href=f"#{name}")) for name, (title, _) in shown.items()]
    title = f"What was kept of {clean(facts.report.variants[0].name)}"
    body = [
        tag(
            "header",
            tag("h1", title),
            tag("p", facts.report.verdict, class_="verdict"),
            *_criteria(facts.retentions, facts.report),
            _gate(facts.report.gate),
        ),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag("main", *(tag("section", tag("h2", text), part, id=name) for name, (text, part) in shown.items())),
    ]
    return f"<!doctype html>\n{tag('html', _head(title), tag('body', *body, tag('script', _script())), lang='en')}"


def _head(title: str) -> Html:
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", _resource("page.css")),
    )


def _script() -> Html:
    return _resource("sort.js")


def _resource(name: str) -> Html:
    return Html((resources.files("distill_eval.report.html") / name).read_text(encoding="utf-8"))


# ---- sections


def _criteria(retentions: Mapping[str, Retention], report: Report) -> list[Html]:
    told = criteria(retentions.values(), report)
    return [tag("p", clean(told))] if told else []


def _gate(results: Sequence[RuleResult]) -> Html:
    """The rules that were asked for."""
    if not results:
        return Html()
    found = [
        Column("rule", tuple(Cell(f"{one.rule.name} {one.rule.bound:g}") for one in results), numeric=False),
        Column("student", tuple(Cell(clean(one.student)) for one in results), numeric=False),
        Column(
            "where", tuple(Cell(clean(one.where) if one.where else "the whole model") for one in results), numeric=False
        ),
        Column("verdict", tuple(Cell(one.verdict) for one in results), numeric=False),
        Column("why", tuple(Cell(clean(one.text)) for one in results), numeric=False),
    ]
    return joined([tag("h2", "Gate"), table(found, "Rules of the gate", prefix="gate", sortable=True)])


def _variants(report: Report) -> Html:
    every = variant_columns(report, clean, bold=False)
    shown = table([column for column in every if not column.empty], "Variants", prefix="variants", sortable=True)
    left = [tag("li", line) for line in missing(report, every)]
    said = [tag("p", "Not in the table, since no variant has it:"), tag("ul", *left, class_="notes")] if left else []
    at = [] if report.load is None else [tag("p", f"Speeds in the table are at {clean(report.load)}.")]
    return joined([*at, shown, *said])


def _charts(facts: Grounds) -> Html:
    report, names = facts.report, facts.names
    groups: dict[str, list[Html]] = {
        "What was kept": [
            charts.tradeoff(report),
            *(charts.forests(one, names, report) for one in facts.retentions.values()),
        ],
        "Speed": [load_charts.latencies(run, names) for run in facts.benches.values()],
        "Distributions": [charts.divergences(one, names) for one in facts.fidelities.values()],
        "Training": [charts.curves(facts.trainings)],
        "Quantization": [load_charts.layer_errors(facts.quants, facts.models, names)],
    }
    parts: list[Html] = []
    for title, found in groups.items():
        shown = [one for one in found if one]
        parts += [tag("h3", title), tag("div", *shown, class_="charts")] if shown else []
    return joined(parts)


def _all_tasks(facts: Grounds) -> Html:
    parts: list[str] = []
    for number, (path, retention) in enumerate(facts.retentions.items()):
        found = _tasks(retention, facts.names, number)
        parts += [tag("h3", clean(path)), found] if found and len(facts.retentions) > 1 else [found]
    return joined(parts)


def _tasks(retention: Retention, names: Mapping[str, str], number: int) -> Html:
    primary = [entry for entry in retention.entries if entry.primary]
    if not primary:
        return Html()
    view = View(show=clean, labels=dict(names))
    found = columns(ordered(retention, primary), view, level=retention.criterion.level)
    several = len(retention.students) > 1
    keys = [key for key in (*ALWAYS, "verdict") if several or key != "variant"]
    return table([found[key] for key in keys], "Retention by task", prefix=f"tasks{number}", sortable=True)


def _flips(facts: Grounds, flips: Mapping[str, Sequence[Changed]]) -> Html:
    parts: list[str] = []
    for path, retention in facts.retentions.items():
        wanted = sum(len(counted(retention, student.ref)) for student in retention.students)
        found = flips.get(path, ())
        parts.append(browser(found, facts.names))
        if len(found) < wanted:
            parts.append(tag("p", NO_DOCUMENTS))
    if not any(parts):
        return Html()
    told = "Harmful: the teacher is right and the student wrong; beneficial: the reverse."
    return joined([tag("p", told), *parts])


def _planned(facts: Grounds) -> Html:
    """What plans said beside what was measured."""
    if not facts.checks:
        return Html()
    parts: list[str] = [tag("p", planned.SAID)]
    for number, (where, found) in enumerate(facts.checks.items()):
        parts += [tag("h3", clean(where))] if len(facts.checks) > 1 else []
        parts.append(table(planned.columns(found, clean), "Planned and measured", prefix=f"planned{number}"))
    return joined(parts)


def _findings(report: Report) -> Html:
    ranked = sorted(report.findings, key=lambda finding: WEIGHTS.index(finding.weight))
    items = [tag("li", tag("strong", clean(one.subject)), f" ({one.weight}): {clean(one.text)}") for one in ranked]
    return tag("ol", *items) if items else tag("p", "None.")


def _repeat(facts: Grounds) -> Html:
    report = facts.report
    parts = [tag("pre", "\n".join(commands(report)))]
    if report.recipe is not None:
        parts += [tag("h3", "Recipe"), tag("pre", report.recipe)]
    parts.append(_table_of(sources(report, facts.made), "Artifacts", "sources"))
    tasks = [task for retention in facts.retentions.values() for task in retention.tasks]
    data = {
        "task": [task.task for task in tasks],
        "data set": [task.dataset or "not named" for task in tasks],
        "revision": [task.dataset_revision or "not known" for task in tasks],
    }
    parts.append(_table_of(data, "Data", "data") if tasks else Html())
    parts.append(_table_of(versions(facts.made.values()), "Versions", "versions"))
    return joined(parts)


def _table_of(content: Mapping[str, Sequence[str]], name: str, prefix: str) -> Html:
    """A table of foreign text, folded away."""
    found = [Column(head, tuple(Cell(clean(cell)) for cell in cells), numeric=False) for head, cells in content.items()]
    return tag("details", tag("summary", name), table(found, name, prefix=prefix), class_="printed")
