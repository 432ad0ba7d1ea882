"""Pieces of markdown that every report is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from distill_eval.report import escape, numbers
from distill_eval.report.table import Cell, Column, Grid, grid, markdown_table
from distill_eval.schema.recipe import link_size
from distill_eval.schema.retention import WEIGHTS, Finding, Provenance

IN_CHAIN = {"student": "", "prepared": " before training"}
"""Folders that every link of a chain has, as what stands behind the size."""
FOLD_ABOVE = 12
"""Rows above which a table of details is folded away."""


def short_names(refs: Sequence[str]) -> dict[str, str]:
    """A short name for each model: the last part of its path where that is unique, else all of it.

    Of a student in a chain it is its size: `80M` of `runs/mine/2-80M/student`.
    """
    short = {ref: _last_part(ref) for ref in refs}
    taken = list(short.values())
    return {ref: name if taken.count(name) == 1 else ref for ref, name in short.items()}


def _last_part(ref: str) -> str:
    path, at, revision = ref.partition("@")
    above, _, last = path.rstrip("/").rpartition("/")
    size = link_size(above.rpartition("/")[2])
    if size is not None and last in IN_CHAIN:
        last = size + IN_CHAIN[last]
    return (last or path) + at + revision


def folded(text: str, num_rows: int, *, what: str = "row") -> str:
    """The table, folded away where it is long; anything but a table always is."""
    if num_rows <= FOLD_ABOVE and what == "row":
        return text
    return f"<details>\n<summary>Show {numbers.plural(num_rows, what)}</summary>\n\n{text}\n\n</details>"


def with_notes(table: Grid) -> str:
    """The table, and its footnotes as a list below it."""
    notes = [f"- ({number}) {escape.text(note)}" for number, note in enumerate(table.notes, start=1)]
    return "\n\n".join([markdown_table(table), *(["\n".join(notes)] if notes else [])])


def plain_table(content: Mapping[str, Sequence[str]], *, numeric: frozenset[str] = frozenset()) -> str:
    """Finished cells by their column's heading, without footnotes."""
    return markdown_table(
        grid(
            [Column(key, tuple(Cell(text) for text in texts), numeric=key in numeric) for key, texts in content.items()]
        )
    )


def settings_table(settings: Mapping[str, str]) -> str:
    """Names that are ours, and foreign values."""
    return plain_table({"setting": list(settings), "value": [escape.text(value) for value in settings.values()]})


def part(show: Callable[[int], str], number: int, whole: int) -> str:
    """A number and its share of the whole."""
    return f"{show(number)} ({numbers.percent(number / whole)})" if whole else show(number)


def findings(found: Sequence[Finding], *, fold: bool = False) -> str:
    """The section of findings; where there are many, `fold` hides all but those of high weight."""
    ranked = sorted(found, key=lambda finding: WEIGHTS.index(finding.weight))
    lines = [
        f"{number}. **{escape.text(finding.subject)}** ({finding.weight}): {escape.text(finding.text)}"
        for number, finding in enumerate(ranked, start=1)
    ]
    head, shown = "## Findings, heaviest first", len(lines)
    if fold and len(lines) > FOLD_ABOVE:
        shown = sum(finding.weight == "high" for finding in ranked)
    hidden = folded("\n".join(lines[shown:]), len(lines) - shown, what="finding") if lines[shown:] else ""
    listed = "\n".join(lines[:shown]) if lines else "None."
    return "\n\n".join(piece for piece in (head, listed, hidden) if piece)


def how_to_repeat(sources: Sequence[Provenance]) -> str:
    """The section with every command, and the first one's hardware, commit and packages."""
    source, commands = sources[0], "\n".join(dict.fromkeys(source.command for source in sources))
    facts = {"hardware": source.hardware, "distill-eval commit": source.git_commit or "not run from a checkout"}
    return "\n\n".join(
        ["## How to repeat this", escape.code_block(commands, language="sh"), settings_table(facts), versions(source)]
    )


def versions(source: Provenance) -> str:
    """The table of packages."""
    packages = sorted(source.versions)
    return plain_table(
        {
            "package": [escape.text(package) for package in packages],
            "version": [escape.text(source.versions[package]) for package in packages],
        }
    )
