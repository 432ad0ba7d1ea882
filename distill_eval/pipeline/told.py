"""Who hears of the verdicts besides the reader: CI systems by junit.xml, GitHub Actions by its step summary."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distill_eval.errors import require

if TYPE_CHECKING:
    from distill_eval.gate.options import CiOptions
    from distill_eval.schema.gate import RuleResult

SUMMARY = "GITHUB_STEP_SUMMARY"


def check(options: CiOptions) -> None:
    """Refuse a summary where there is none to append to, before any long work.

    Raises:
        UsageError: the variable that names it is not set.
    """
    require(
        not options.github_summary or bool(os.environ.get(SUMMARY)),
        f"--github-summary: the variable {SUMMARY} is not set, as it is in a step of GitHub Actions. Leave the option "
        "out elsewhere",
    )


def older(folder: Path) -> list[Path]:
    """What an earlier verdict may have left in the folder, to be removed with its report."""
    from distill_eval.report import junit

    return [folder / junit.FILE]


def tell(options: CiOptions, folder: Path, results: Sequence[RuleResult], summary: str) -> None:
    """Write junit.xml, and append the short report to the step's summary, as asked.

    Raises:
        StoreError: a file cannot be written.
    """
    from distill_eval.report import junit
    from distill_eval.store import write_atomic
    from distill_eval.store.files import explained

    if options.junit:
        write_atomic(folder / junit.FILE, junit.render(results))
    if options.github_summary:
        path = Path(os.environ[SUMMARY])
        with explained(path, SUMMARY), path.open("a", encoding="utf-8") as file:
            file.write(summary.rstrip("\n") + "\n\n")
