"""The verb `compare`, and the exit code of a gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from distill_eval import pipeline
from distill_eval.progress import ConsoleProgress
from distill_eval.report.terminal import print_table
from distill_eval.store import Store

if TYPE_CHECKING:
    from distill_eval.compare_config import CompareConfig
    from distill_eval.schema.retention import Retention

GATE_EXIT = {"PASS": 0, "FAIL": 3, "INCONCLUSIVE": 4}


def compare(config: CompareConfig, argv: Sequence[str]) -> int:
    """Evaluate and compare; with `--gate` the exit code is the verdict."""
    with ConsoleProgress() as progress:
        done = pipeline.compare(config, store=Store(), progress=progress, argv=argv)
    print_table(done.retention, Console())
    print(f"Report: {done.report}")
    return gate(done.retention) if config.gate else 0


def gate(retention: Retention) -> int:
    """0 when every student passes, 3 when one fails, else 4."""
    found = {verdict.verdict for verdict in retention.verdicts}
    return next(GATE_EXIT[verdict] for verdict in ("FAIL", "INCONCLUSIVE", "PASS") if verdict in found)
