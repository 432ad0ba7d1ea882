"""How a gate ends a command: its lines, its annotations, its exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distill_eval.report.gate import lines
from distill_eval.report.github import annotated
from distill_eval.schema.gate import RuleResult, overall
from distill_eval.schema.retention import Verdict

if TYPE_CHECKING:
    from distill_eval.gate.options import CiOptions

GATE_EXIT: dict[Verdict, int] = {"PASS": 0, "FAIL": 3, "INCONCLUSIVE": 4}


def gate(results: Sequence[RuleResult], *, decides: bool, ci: CiOptions | None = None) -> int:
    """Print every rule's verdict with its reason; the exit code is the verdict where the gate `decides`, else 0."""
    if results:
        print("\n".join(lines(results)))
    if ci is not None and ci.annotations:
        annotate(results)
    return GATE_EXIT[overall(results)] if decides else 0


def annotate(results: Sequence[RuleResult]) -> None:
    """Print what GitHub shows beside the job."""
    print("\n".join(annotated(results)))
