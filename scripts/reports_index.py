"""Writes reports/README.md: a table of the runs kept in reports/, from the artifacts in their folders.

    python scripts/reports_index.py [--check]

tests/contract/test_reports_index.py fails when the stored file is not what this writes. What an artifact does not say
(what was to be learnt, what came of it in words) stands in a README.md of the folder that it is about, which the table
links.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from distill_eval.errors import ArtifactError, DistillEvalError
from distill_eval.pipeline.collect import SCHEMAS
from distill_eval.record import from_json
from distill_eval.report import bench, bench_rows, escape, fidelity, markdown, numbers, rows, training, verdict
from distill_eval.report.sections import short_names
from distill_eval.schema.bench import BenchRun
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.fidelity import Fidelity
from distill_eval.schema.report import Report
from distill_eval.schema.retention import Retention

REPORTS = Path(__file__).resolve().parents[1] / "reports"
INDEX, NOTES, RECIPE, MANIFEST = "README.md", "README.md", "recipe.toml", "run.json"
KINDS: Mapping[str, type[Any]] = {"report": Report, **{kind: known.cls for kind, known in SCHEMAS.items()}}
TELLING = ("report", "retention", "bench", "fidelity", "distill")
"""Kinds that a row can be about; it is about the first that a run has."""
FIRST = ("report.md", "report.html", bench.TEXT, fidelity.TEXT, training.TEXT)
"""Texts to begin with, before the others of a folder."""
MOST_TOLD = 2
"""Students of a comparison up to which the grounds of each verdict are given; its own report has them all."""
DATED = re.compile(r"\d{4}-\d{2}-\d{2}-(?=.)")
HEADINGS = ("date", "run", "teacher", "students", "measured on", "verdict", "commit", "recipe", "artifacts")
HEAD = """\
# Reports

One folder per real run, `<date>-<student>/`, as the commands wrote it: the last section of a report says how to repeat
it, and the commit is that of distill-eval which made it. `python scripts/keep_report.py RUN reports/NAME` takes over
what is to be kept of a recipe's run. This page is written by `python scripts/reports_index.py` from the artifacts;
notes are in the folders.
"""


class Found(NamedTuple):
    """An artifact in reports/."""

    kind: str
    path: Path
    digest: str
    record: Any


class Run(NamedTuple):
    """A row: a folder, and what its artifacts say."""

    folder: Path
    main: tuple[Found, ...]
    """Of the kind that the row is about; several where a student was trained twice."""
    artifacts: tuple[Found, ...]
    """All of the folder, or all that its report was made of, wherever these are."""


def main() -> None:
    """Write the index, or say that it is stale."""
    parser = argparse.ArgumentParser(description="Write reports/README.md from the artifacts in reports/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when the file differs")
    check = parser.parse_args().check
    try:
        text = render(REPORTS)
    except DistillEvalError as error:
        sys.exit(str(error))
    path = REPORTS / INDEX
    if check and (not path.is_file() or path.read_text(encoding="utf-8") != text):
        sys.exit(f"{path} is not what the folders say. Type: python scripts/reports_index.py")
    if not check:
        path.write_text(text, encoding="utf-8")
        print(path)


def render(reports: Path) -> str:
    """The text of the index.

    Raises:
        ArtifactError: a folder has no date in its name or no run in it, or an artifact cannot be read.
    """
    found = [_cells(run, reports) for run in runs(reports)]
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *found]
    return f"{HEAD}\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


# ---- what there is


def runs(reports: Path) -> list[Run]:
    """The runs by folder name, which begins with the date."""
    read = [one for path in sorted(reports.rglob("*.json")) if (one := _read(path)) is not None]
    found = []
    for top in sorted(path for path in reports.iterdir() if path.is_dir()):
        if not DATED.match(top.name):
            raise ArtifactError(f"{top}: expected a name that begins with a date, e.g. 2026-11-27-{top.name}")
        folders = list(_roots(top, read))
        if not folders:
            names = ", ".join(f"{kind}.json" for kind in TELLING)
            raise ArtifactError(f"{top} holds no run: expected one of {names} in it. Remove it, or add them")
        found += [_run(folder, read) for folder in folders]
    return found


def _read(path: Path) -> Found | None:
    """An artifact; `None` for other JSON."""
    data = path.read_bytes()
    try:
        said = json.loads(data)
    except ValueError as error:
        raise ArtifactError(f"{path} is not JSON: {error}") from error
    kind = str(said.get("schema")).removeprefix("distill-eval/") if isinstance(said, dict) else ""
    if kind not in KINDS:
        return None
    return Found(kind, path, hashlib.sha256(data).hexdigest(), from_json(KINDS[kind], data, source=str(path)))


def _roots(folder: Path, read: Collection[Found]) -> Iterator[Path]:
    """The uppermost folders that hold a recipe's run, or an artifact that a row can be about."""
    if any(one.path.parent == folder and one.kind in (*TELLING, "run") for one in read):
        if any(folder in one.path.parents and one.kind in TELLING for one in read):
            yield folder
        return
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        yield from _roots(inner, read)


def _run(folder: Path, read: Collection[Found]) -> Run:
    inside = [one for one in read if folder in one.path.parents]
    kind = next(kind for kind in TELLING if any(one.kind == kind for one in inside))
    of_kind = [one for one in inside if one.kind == kind]
    least = min(len(one.path.parts) for one in of_kind)
    telling = sorted((one for one in of_kind if len(one.path.parts) == least), key=_is_baseline)
    cited = _cited(telling[0], [*inside, *read]) if kind == "report" else []
    return Run(folder, tuple(telling), tuple({one.path: one for one in (*telling, *inside, *cited)}.values()))


def _is_baseline(one: Found) -> bool:
    return isinstance(one.record, DistillRun) and one.record.baseline


def _cited(report: Found, read: Sequence[Found]) -> list[Found]:
    """What a report was made of; of two equal files the first."""
    kept = {one.digest: one for one in reversed(read)}
    for source in report.record.sources:
        if source.digest not in kept:
            raise ArtifactError(
                f"{report.path} was made of {source.path} (SHA-256 {source.digest[:12]}), and no file here is "
                "that one: add it, or make the report again of what is here"
            )
    return [kept[source.digest] for source in report.record.sources]


# ---- a row


def _cells(run: Run, reports: Path) -> tuple[str, ...]:
    where = run.folder.relative_to(reports)
    dated = DATED.match(where.parts[0])
    assert dated is not None, "runs() refuses other names"
    first = run.main[0]
    provenance = first.record.provenance
    return (
        dated[0].rstrip("-"),
        _readable(run, reports, where.as_posix()[dated.end() :]),
        escape.text(_teacher(first.record)),
        escape.text(", ".join(dict.fromkeys(name for one in run.main for name in _students(one.record)))),
        "; ".join(dict.fromkeys(escape.text(_measured(one.record)) for one in _measuring(run))) or numbers.UNDEFINED,
        _verdict(run),
        f"`{provenance.git_commit}`" if provenance.git_commit else "not a checkout",
        _recipe(run.folder, reports),
        ", ".join(_link(_name(one.path, run.folder, reports), one.path, reports) for one in run.artifacts),
    )


def _link(text: str, path: Path, reports: Path) -> str:
    return f"[{escape.text(text)}]({quote(path.relative_to(reports).as_posix())})"


def _name(path: Path, folder: Path, reports: Path) -> str:
    """As seen from the run's folder; what is in another one from where that is."""
    return path.relative_to(folder if folder in path.parents else reports).as_posix()


def _readable(run: Run, reports: Path, name: str) -> str:
    """The folder's name as a link to its first text, the other texts, and the notes about it or those above it."""
    places = dict.fromkeys((run.main[0].path.parent, run.folder))
    texts = [path for place in places for path in sorted(place.iterdir()) if path.suffix in (".md", ".html")]
    ranked = sorted((path for path in texts if path.name != NOTES), key=_rank)
    begin = _link(name, ranked[0], reports) if ranked else escape.text(name)
    others = [_link(_name(path, run.folder, reports), path, reports) for path in ranked[1:]]
    above = [run.folder, *run.folder.parents]
    notes = [place / NOTES for place in above[: above.index(reports)] if (place / NOTES).is_file()]
    return ", ".join([begin, *others, *(_link("notes", path, reports) for path in notes)])


def _rank(path: Path) -> int:
    return FIRST.index(path.name) if path.name in FIRST else len(FIRST)


def _recipe(folder: Path, reports: Path) -> str:
    """`recipe.toml` of a recipe's run, or a recipe beside the folder that has its name."""
    beside = (folder / RECIPE, folder.with_name(f"{folder.name}.toml"))
    return next((_link(path.name, path, reports) for path in beside if path.is_file()), numbers.UNDEFINED)


def _teacher(record: Any) -> str:
    if isinstance(record, Report):
        return record.variants[0].name
    if isinstance(record, Retention):
        return rows.labels(record)[record.teacher.ref]
    if isinstance(record, BenchRun):
        return f"{record.models[0].name} ({record.models[0].engine})"
    if isinstance(record, Fidelity):
        return fidelity.names(record)[record.reference.ref]
    assert isinstance(record, DistillRun), "one of TELLING"
    return ", ".join(short_names([str(teacher) for teacher in record.teachers]).values()) or "none"


def _students(record: Any) -> list[str]:
    if isinstance(record, Report):
        return [row.name for row in record.variants if row.role == "student"]
    if isinstance(record, Retention):
        return [rows.labels(record)[student.ref] for student in record.students]
    if isinstance(record, BenchRun):
        return [f"{model.name} ({model.engine})" for model in record.models[1:]]
    if isinstance(record, Fidelity):
        return [fidelity.names(record)[one.model.ref] for one in record.candidates]
    assert isinstance(record, DistillRun), "one of TELLING"
    return list(short_names([str(record.student)]).values())


# ---- what was measured, and what came of it


def _measuring(run: Run) -> list[Found]:
    """Artifacts that say on what they measured; a training only where nothing else is told."""
    found = [one for one in run.artifacts if isinstance(one.record, Retention | Fidelity | BenchRun)]
    return found or [one for one in (*run.main, *run.artifacts) if isinstance(one.record, DistillRun)]


def _measured(record: Any) -> str:
    """Tasks with their documents, positions of text, loads, or texts."""
    if isinstance(record, Retention):
        counts = {one.task: one.num_docs for one in record.tasks}
        if len(set(counts.values())) == 1:
            each = numbers.plural(next(iter(counts.values())), "document") + (" each" if len(counts) > 1 else "")
            return f"{', '.join(counts)}, {each}"
        return ", ".join(f"{task} ({numbers.count(number)})" for task, number in counts.items()) + " documents"
    if isinstance(record, Fidelity):
        return f"{numbers.plural(record.num_scored, 'position')} of {record.text.source}"
    if isinstance(record, BenchRun):
        loads = [load.label for load in record.loads]
        loads += [f"batch size {one.batch_size}" for one in record.models[0].classifier_results]
        return f"{', '.join(loads)}, {numbers.plural(record.num_repeats, 'repeat')}"
    assert isinstance(record, DistillRun), "one of what _measuring gives"
    found = record.classification
    if found is not None:
        return f"{numbers.plural(found.student.num_texts, 'text')} of {found.measured_on}"
    return f"{record.data.data}, {numbers.plural(record.after.num_tokens, f'validation {record.after.unit}')}"


def _verdict(run: Run) -> str:
    """What came of it, in the words of the artifact's own text."""
    told: Mapping[type[Any], Callable[[Any, str | None], str]] = {
        Report: lambda report, _: escape.text(report.verdict),
        Retention: lambda retention, _: _judged(retention),
        BenchRun: lambda bench_run, _: " ".join(bench_rows.sentence(model) for model in bench_run.models[1:]),
        Fidelity: lambda close, _: " ".join(_close(close)),
        DistillRun: _learnt,
    }
    names = [one.path.stem if one.path.parent == run.folder else one.path.parent.name for one in run.main]
    shown = names if len(names) > 1 else [None]
    return " ".join(told[type(one.record)](one.record, name) for one, name in zip(run.main, shown, strict=True))


def _judged(retention: Retention) -> str:
    labels, told = rows.labels(retention), []
    for one in retention.verdicts:
        told.append(verdict.headline(one, escape.name(labels[one.student_ref])))
        if len(retention.verdicts) <= MOST_TOLD:
            told.append(markdown.grounds(retention, one))
    return " ".join(told)


def _close(run: Fidelity) -> Iterator[str]:
    for one in run.candidates:
        name = escape.name(fidelity.names(run)[one.model.ref])
        if one.tokens is not None:
            yield f"{name}: mean KL {fidelity.SUMMARY['mean KL, nats'](one.tokens)} nats."


def _learnt(run: DistillRun, name: str | None) -> str:
    found, said = run.classification, training.sentence(run, name, show=escape.name)
    if found is None:
        return said
    beside = "".join(f", teacher {numbers.percent(teacher.accuracy)}" for teacher in found.teachers)
    return f"{said} On {escape.text(found.measured_on)}: accuracy {numbers.percent(found.student.accuracy)}{beside}."


if __name__ == "__main__":
    main()
