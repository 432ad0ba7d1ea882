"""Run a recipe, or say why it cannot be run before any work."""

from __future__ import annotations

import os

from distill_eval.errors import require
from distill_eval.pipeline.chain import planned_sizes
from distill_eval.pipeline.job import Job
from distill_eval.pipeline.stages import Tools
from distill_eval.pipeline.state import read_run
from distill_eval.recipe import Recipe
from distill_eval.schema.recipe import RecipeRun
from distill_eval.store.files import alone


def run(recipe: Recipe, *, source: str, tools: Tools) -> RecipeRun:
    """Run what is not done yet, and write `run.json` and `recipe.toml` to the output folder.

    A step that fails stops those that need it and no others.

    Args:
        recipe: What to do.
        source: The recipe's name, for the record.
        tools: What the stages need.

    Raises:
        UsageError: sizes that are not possible, or an output folder that holds something else; nothing is written.
        ModelError: a model cannot be had.
        DataError: data cannot be had.
        StageError: a step failed; what was finished is kept and recorded.
        StoreError: the output folder cannot be written, or another process has it.
    """
    root = recipe.output_dir
    require(
        os.environ.get("WORLD_SIZE", "1") == "1",
        "a recipe is run by one process. Under accelerate launch, type the stages' own verbs: prepare, distill ...",
    )
    read_run(root)
    planned_sizes(recipe)
    job = Job(recipe, source, tools)
    outlook = job.outlook()  # whatever is missing is said before any work
    with alone(root):
        return job.run(outlook)
