"""Join artifacts to a report, and write it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from distill_eval.errors import require
from distill_eval.pipeline.newest import RETENTION
from distill_eval.record import to_json

if TYPE_CHECKING:
    from distill_eval.pipeline.gathered import Gathered
    from distill_eval.report_config import ReportConfig

ARTIFACT, PAGE = "report.json", "report.html"


class Done(NamedTuple):
    """A finished report."""

    gathered: Gathered
    report: Path
    page: Path | None


def report(config: ReportConfig, *, argv: Sequence[str]) -> Done:
    """Gather, and write `report.json`, `report.md` and, if asked for, `report.html`.

    At no time does a text stand beside facts of another report.

    Raises:
        UsageError: a run or a rule's task is not there, or the output folder is that of an artifact.
        ArtifactError: an artifact is missing, damaged, edited or of another version.
        NotComparableError: the runs do not belong together.
        StoreError: the output folder cannot be written.
    """
    from distill_eval.pipeline import cards, told
    from distill_eval.pipeline.gates import gated
    from distill_eval.pipeline.gathered import gather
    from distill_eval.provenance import collect
    from distill_eval.report import scorecard
    from distill_eval.store import check_folder, remove, write_atomic

    told.check(config.ci)
    folder = config.output_dir.expanduser()
    found = gather([run.expanduser() for run in config.runs], provenance=collect(argv, "no device"))
    if config.judged is not None:
        found = gated(found, config.judged)
    taken = {inner.resolve() for inner in found.folders} | {run.expanduser().resolve() for run in config.runs}
    require(
        folder.resolve() not in taken,
        f"--output-dir {folder} is a folder that the report is made of, whose own report.md it would replace: name "
        f"another, e.g. --output-dir {folder / 'report'}",
    )
    require(
        not (folder / RETENTION).exists(),
        f"--output-dir {folder} holds a comparison ({RETENTION}), whose report.md this would replace: name another "
        f"folder, e.g. --output-dir {folder / 'report'}",
    )
    check_folder(folder)
    path, text = folder / scorecard.TEXT, scorecard.render(found)
    page = render_page(found) if config.html else None
    remove([path, folder / PAGE, *told.older(folder), *cards.older(folder)])
    write_atomic(folder / ARTIFACT, to_json(found.report))
    if page is not None:
        write_atomic(folder / PAGE, page)
    write_atomic(path, text)
    told.tell(config.ci, folder, found.report.gate, scorecard.short(found.report, found.retentions))
    return Done(found, path, None if page is None else folder / PAGE)


def render_page(found: Gathered) -> str:
    """The text of `report.html`.

    Raises:
        ArtifactError: documents beside a comparison cannot be read, or are not its own.
    """
    from distill_eval.pipeline.samples import read_changed
    from distill_eval.report.html.page import render as render_html

    flips = {where: read_changed(one, found.files[where].parent) for where, one in found.retentions.items()}
    return render_html(found, flips)
