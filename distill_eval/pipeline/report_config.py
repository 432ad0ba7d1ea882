"""The command line of `distill-eval report`."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path

from tyro.conf import Positional

from distill_eval.errors import require
from distill_eval.publish_config import PublishConfig
from distill_eval.record import record


@record
class ReportConfig:
    """Join what runs left of one teacher and its variants: one table, one verdict."""

    runs: Positional[tuple[Path, ...]]
    """Folders of runs, searched for artifacts a few levels deep, or artifact files."""
    output_dir: Path = field(default_factory=lambda: Path("report"))
    """Folder for report.md and report.json."""
    publish: PublishConfig = PublishConfig()

    def __post_init__(self) -> None:
        require(bool(self.runs), "report: name the folder of a run, e.g. distill-eval report runs/smoke")
