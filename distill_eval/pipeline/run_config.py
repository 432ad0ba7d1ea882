"""The command line of `distill-eval run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from distill_eval.errors import require
from distill_eval.record import record
from distill_eval.schema.model import ModelRef


@record
class RunConfig:
    """Run a recipe's stages in order, from the teacher to the report."""

    recipe: Annotated[Positional[str], arg(metavar="RECIPE")]
    """A TOML file, or the name of a shipped recipe: classifier, fast, half-depth, max-quality, progressive,
    quantize-only, small-gpu, smoke."""
    teacher: str | None = None
    """The teacher, instead of the recipe's: Hub name, NAME@REVISION, or a folder."""
    data: str | None = None
    """The data to train on, instead of the recipe's: Hub data set, file or folder."""
    output_dir: Path | None = None
    """Where everything goes, instead of the recipe's folder (default: runs/RECIPE); the same command goes on in it."""
    dry_run: bool = False
    """Print the plan with what each stage takes, and what would be skipped; write nothing."""

    def __post_init__(self) -> None:
        require(bool(self.recipe.strip()), "run: expected a recipe, e.g. distill-eval run smoke")
        if self.teacher is not None:
            ModelRef.parse(self.teacher)
        require(self.data is None or bool(self.data.strip()), "--data: expected a Hub data set, a file or a folder")
