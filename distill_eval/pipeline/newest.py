"""What was run below a folder: the models of the newest run, and all comparisons, for commands that name none."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from distill_eval import recipe as recipes
from distill_eval.errors import ArtifactError, UsageError
from distill_eval.pipeline.collect import collect, is_foreign
from distill_eval.pipeline.state import MANIFEST, RECIPE
from distill_eval.recipe.known import VARIANTS
from distill_eval.recipe.recipe import STUDENT
from distill_eval.record import from_json
from distill_eval.schema.recipe import RecipeRun, links
from distill_eval.schema.retention import Retention

RETENTION = "retention.json"
PLACES = (".", "*", "runs/*", "*/*")
"""Where a run is looked for: here, in a folder here, in `runs`, and in the stages of a run."""
COMPARED = (*PLACES, "runs/*/*")
"""Where comparisons are: a recipe's is in a stage of a run in `runs`, whose manifest tells `newest` of it."""


class Newest(NamedTuple):
    """Models of a run."""

    models: tuple[str, ...]
    """The teacher first."""
    source: Path
    """The file that says so."""


def newest(root: Path) -> Newest:
    """The models of the run that was finished last.

    A comparison names its teacher and students, a recipe's run those that it has trained so far; without either, a
    `recipe.toml` in the folder says where its run is.

    Raises:
        UsageError: there is no run, or it has no student yet.
        ArtifactError: what is there is damaged.
    """
    files = {path for place in PLACES for name in (MANIFEST, RETENTION) for path in root.glob(f"{place}/{name}")}
    found = max(files, key=lambda path: (path.stat().st_mtime_ns, str(path)), default=None)
    if found is None:
        found = _of_recipe(root / RECIPE)
    models = _compared(found) if found.name == RETENTION else tuple(_trained(found))
    if len(models) < 2:
        raise UsageError(f"{found} has no student that is trained: name the models, e.g. --model TEACHER,STUDENT")
    return Newest(tuple(dict.fromkeys(models)), found)


def comparisons(root: Path, say: Callable[[str], None]) -> tuple[Path, ...]:
    """Every `retention.json` in such places, and in the stages of the runs in `runs`.

    One that cannot be read is told and left out; a file of that name that is no artifact is passed by.

    Args:
        root: The folder.
        say: Takes lines for the reader.
    """
    found = []
    for path in sorted({path for place in COMPARED for path in root.glob(f"{place}/{RETENTION}")}):
        try:
            if is_foreign(path):
                continue
            collect([path])
        except ArtifactError as error:
            say(f"{error}: left out of your own runs")
            continue
        found.append(path)
    if found:
        say(f"your own runs: {', '.join(map(str, found))} (others: --runs)")
    return tuple(found)


def _of_recipe(path: Path) -> Path:
    if path.is_file():
        manifest = recipes.load(str(path), recipes.Overrides()).output_dir / MANIFEST
        if manifest.is_file():
            return manifest
        raise UsageError(f"{path} was not run yet. Type: distill-eval run {path}, or name the models with --model A,B")
    raise UsageError(
        "--model is missing, and there is no run below this folder to take its teacher and students. Type e.g. "
        "distill-eval bench --model TEACHER,STUDENT"
    )


def _compared(path: Path) -> tuple[str, ...]:
    said = from_json(Retention, path.read_bytes(), source=str(path))
    return (said.teacher.ref, *(student.ref for student in said.students))


def _trained(path: Path) -> Iterator[str]:
    said = from_json(RecipeRun, path.read_bytes(), source=str(path))
    recipe = recipes.resolve(tomllib.loads(said.recipe), source=str(path))
    yield recipe.teacher
    done = {stage.folder: stage for stage in said.stages if stage.status == "done"}
    for link in links(path.parent, recipe.chain):
        if str(link.student.relative_to(path.parent)) in done:
            yield str(link.student)
    if recipe.distill is None and recipe.compare is not None and STUDENT in recipe.models:
        yield recipe.models[STUDENT]  # nothing is trained
    yield from (str(path.parent / folder) for folder, stage in done.items() if stage.stage in VARIANTS)
