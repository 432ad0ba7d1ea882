"""What a recipe's run left behind: results of an earlier state of it, which no report may join to today's."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping

from distill_eval.errors import UsageError
from distill_eval.pipeline.plan import Step, steps
from distill_eval.recipe import resolve
from distill_eval.schema.recipe import RecipeRun, StageRun


def left_behind(run: RecipeRun) -> set[str]:
    """Folders, relative to `run.json`, whose content may be of other models than the recipe's.

    Those of stages that did not run, or wait for one that is not done, and of stages that the recipe no longer has.
    """
    stages = {stage.name: stage for stage in run.stages}
    try:
        planned = {step.name: step for step in steps(resolve(tomllib.loads(run.recipe), source=run.source))}
    except (UsageError, tomllib.TOMLDecodeError):  # of another version: its record still says what did not run
        return {stage.folder for stage in run.stages if stage.status == "not run"}
    kept = {name for name in planned if name in stages and _is_current(name, planned, stages)}
    return {stage.folder for stage in run.stages} - {stages[name].folder for name in kept}


def _is_current(name: str, planned: Mapping[str, Step], stages: Mapping[str, StageRun]) -> bool:
    needs = planned[name].needs
    waits = any(need not in stages or stages[need].status != "done" for need in needs)
    return stages[name].status != "not run" and not waits and all(_is_current(need, planned, stages) for need in needs)
