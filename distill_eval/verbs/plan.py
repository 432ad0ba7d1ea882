"""The verb `plan`: what a student will keep, cost and need, before anything is run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from distill_eval.verbs.training import say

if TYPE_CHECKING:
    from distill_eval.plan.config import PlanConfig


def plan(config: PlanConfig, argv: Sequence[str]) -> int:
    """Plan, print it on one screen, and say where all of it is."""
    from distill_eval.pipeline.newest import comparisons
    from distill_eval.pipeline.planned import write
    from distill_eval.plan.hardware import listing
    from distill_eval.report.plan_terminal import print_plan
    from distill_eval.store import Store

    if config.lists_hardware:
        print(listing())
        return 0
    if not config.runs:
        config = replace(config, runs=comparisons(Path(), say))
    done = write(config, argv=argv, say=say, store=Store())
    print_plan(done.plan, Console())
    print(f"Plan: {done.report}")
    if done.recipe is not None:
        file = shlex.quote(str(done.recipe))
        print(f"Recipe: {done.recipe}. Next: distill-eval run {file} --data DATA --dry-run")
    return 0
