"""The verb `report`: one table, one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from distill_eval.verbs.gate import gate

if TYPE_CHECKING:
    from distill_eval.report_config import ReportConfig


def report(config: ReportConfig, argv: Sequence[str]) -> int:
    """Join artifacts, say what to ship, and take it to others where that is asked for.

    With `--gate` the exit code is the verdict on the rules, and nothing is uploaded unless that is PASS.
    """
    from distill_eval.pipeline import publish
    from distill_eval.pipeline.report import report as join
    from distill_eval.report.escape import clean

    publish.check(config.publish)
    done = join(config, argv=argv)
    Console().print(clean(done.gathered.report.verdict), markup=False, highlight=False)
    code = gate(done.gathered.report.gate, decides=config.gate, ci=config.ci)
    print(f"Report: {done.report}")
    if done.page is not None:
        print(f"Page: {done.page}")
    publish.publish(config.publish, done.gathered, config.output_dir.expanduser(), print, upload=code == 0)
    return code
