"""The command line of `distill-eval report`."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path

from tyro.conf import Positional

from distill_eval.errors import require
from distill_eval.gate.options import CiOptions, GateOptions
from distill_eval.publish_config import PublishConfig
from distill_eval.record import record
from distill_eval.schema.gate import Rule


@record
class ReportConfig:
    """Join what runs left of one teacher and its variants: one table, one verdict."""

    runs: Positional[tuple[Path, ...]]
    """Folders of runs, searched for artifacts a few levels deep, or artifact files."""
    min_retention: float | None = None
    """Rule: share of the teacher that a student keeps on every task, interval included (default: what each comparison
    asked for)."""
    rules: GateOptions = GateOptions()
    gate: bool = False
    """Exit with 0 when every student keeps every rule, 3 when one breaks one, 4 when one of them cannot be told."""
    ci: CiOptions = CiOptions()
    output_dir: Path = field(default_factory=lambda: Path("report"))
    """Folder for report.md and report.json."""
    html: bool = False
    """Write report.html, too: one page with charts, tables that sort, and the documents whose correctness changed."""
    publish: PublishConfig = PublishConfig()

    def __post_init__(self) -> None:
        require(bool(self.runs), "report: name the folder of a run, e.g. distill-eval report runs/smoke")
        share = self.min_retention
        require(
            share is None or 0 < share <= 1, f"--min-retention {share}: expected a share above 0, at most 1, e.g. 0.95"
        )
        self.rules.check("report")

    @property
    def judged(self) -> tuple[Rule, ...] | None:
        """The rules in force; `None` where no verdict on rules was asked for.

        Without one on what is to be kept, the comparisons' own criterion is judged.
        """
        share = self.min_retention
        own = () if share is None else (Rule(name="min-retention", bound=share),)
        rules = (*own, *self.rules.rules)
        return rules if rules or self.gate or self.ci != CiOptions() else None
