"""What a recipe's run left behind: results of an earlier state of it, which no report may join to today's."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping

from distill_eval.errors import UsageError
from distill_eval.pipeline.plan import Step, steps
from distill_eval.pipeline.without import without
from distill_eval.recipe import resolve
from distill_eval.schema.recipe import RecipeRun, StageRun


def left_behind(run: RecipeRun) -> set[str]:
    """Folders, relative to `run.json`, whose content may be of other models than the recipe's.

    Those of stages that did not run, or wait for one that is not done, and of stages that the recipe no longer has. A
    measurement that was made without the variants that are not there waits for none.
    """
    stages = {stage.name: stage for stage in run.stages}
    try:
        planned = {step.name: step for step in steps(resolve(tomllib.loads(run.recipe), source=run.source))}
    except (UsageError, tomllib.TOMLDecodeError):  # of another version: its record still says what did not run
        return {stage.folder for stage in run.stages if stage.status == "not run"}
    kept = {name for name in planned if name in stages and _is_current(name, planned, stages)}
    return {stage.folder for stage in run.stages} - {stages[name].folder for name in kept}


def _is_current(name: str, planned: Mapping[str, Step], stages: Mapping[str, StageRun]) -> bool:
    """Whether a stage was begun as the recipe has it, or without the variants that are not there."""
    lost = [planned[need] for need in planned[name].needs if need not in stages or stages[need].status != "done"]
    left = without(planned[name], lost)
    if stages[name].status == "not run" or left is None:
        return False
    if lost and stages[name].config_digest != left.config_digest:  # it is of the variants as they were before
        return False
    return all(_is_current(need, planned, stages) for need in left.needs)
