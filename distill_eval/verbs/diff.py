"""The verb `diff`: what changed from one run to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distill_eval.report import escape
from distill_eval.report.diff import sentence
from distill_eval.verbs.gate import gate

if TYPE_CHECKING:
    from distill_eval.pipeline.diff import DiffConfig


def diff(config: DiffConfig, argv: Sequence[str]) -> int:
    """Hold one run against another; with `--gate` the exit code is the verdict on what became worse."""
    from distill_eval.pipeline.diff import diff as hold

    done = hold(config, argv=argv)
    for student in done.diff.students:
        print(f"{escape.clean(student.name)}: {sentence(student, escape.clean)}")
    for finding in done.diff.findings:
        print(f"{finding.weight}: {escape.clean(finding.subject)}: {escape.clean(finding.text)}")
    code = gate(done.diff.gate, decides=config.gate, ci=config.ci)
    print(f"Report: {done.report}")
    return code
