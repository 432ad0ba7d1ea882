"""The verb `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from distill_eval import pipeline
from distill_eval.progress import ConsoleProgress
from distill_eval.report.terminal import print_table
from distill_eval.store import Store
from distill_eval.verbs.gate import gate

if TYPE_CHECKING:
    from distill_eval.compare_config import CompareConfig


def compare(config: CompareConfig, argv: Sequence[str]) -> int:
    """Evaluate and compare; with `--gate` the exit code is the verdict."""
    with ConsoleProgress() as progress:
        done = pipeline.compare(config, store=Store(), progress=progress, argv=argv)
    print_table(done.retention, Console())
    code = gate(done.gate, decides=config.gate, ci=config.ci)
    print(f"Report: {done.report}")
    return code
