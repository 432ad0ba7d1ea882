"""What is to be done for a step: nothing, go on, begin, or begin again because something changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from distill_eval.errors import ArtifactError, UsageError, require
from distill_eval.pipeline.inputs import FileDigest, same
from distill_eval.pipeline.plan import Step
from distill_eval.record import from_json
from distill_eval.schema.recipe import RecipeRun, StageRun
from distill_eval.store.files import FOLDER_LOCK

MANIFEST = "run.json"
RECIPE = "recipe.toml"


class State(NamedTuple):
    """What is to be done, and why when it is to be done again."""

    todo: Literal["skip", "go on", "begin"]
    reason: str | None = None


def look(step: Step, before: StageRun | None, inputs: Mapping[str, str | None], file_digest: FileDigest) -> State:
    """Compare what an earlier run recorded with how things are now."""
    if before is None or before.num_attempts == 0:
        return State("begin")
    if before.config_digest != step.config_digest:
        others = before.input_digests.keys() != inputs.keys()
        return State("begin", "what it reads changed" if others else "its options changed")
    if not same(before.input_digests, dict(inputs)):
        apart = [name for name in inputs if not same(_only(before.input_digests, name), _only(inputs, name))]
        return State("begin", f"{', '.join(apart) or 'what it reads'} changed")
    if before.status != "done":
        return State("go on")
    for name, known in before.files.items():
        path = step.folder / name
        if not path.is_file():
            return State("begin", f"{path} is missing")
        if file_digest(path) != known:
            return State("begin", f"{path} is not what was written")
    return State("skip")


def _only(digests: Mapping[str, str | None], name: str) -> dict[str, str | None]:
    return {name: digests.get(name)}


def set_aside(folder: Path) -> Path | None:
    """Give what is in the way of a step another name, since it may have taken hours; the new name."""
    if not folder.exists():
        return None
    number = 1
    while (other := folder.with_name(f"{folder.name}.replaced-{number}")).exists():
        number += 1
    folder.rename(other)
    return other


def read_run(root: Path) -> RecipeRun | None:
    """What an earlier run in this folder recorded; `None` for a new or empty folder.

    Raises:
        UsageError: the folder holds something else.
        ArtifactError: the record is damaged.
    """
    require(not root.exists() or root.is_dir(), f"--output-dir {root} is a file; name a folder")
    path = root / MANIFEST
    if path.is_file():
        try:
            return from_json(RecipeRun, path.read_bytes(), source=str(path))
        except ArtifactError as error:
            raise ArtifactError(
                f"{error}. Remove {path} to have every stage begun again, or name another folder"
            ) from error
    if root.is_dir() and any(entry.name != FOLDER_LOCK for entry in root.iterdir()):
        raise UsageError(f"--output-dir {root} is not empty and holds no run of a recipe ({MANIFEST}): name another")
    return None
